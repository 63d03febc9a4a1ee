"""Against boto3 itself with recorded answers; the machines of test_aws_service.py run what they are told."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.launchers.errors import BadLauncher
from parsl.providers import AWSProvider
from parsl.providers.aws.network import RUN_TAG, Network
from parsl.providers.errors import ExecutionProviderException, SubmitException
from tests.cloud_services import record_proof

boto3 = pytest.importorskip("boto3")
stub = pytest.importorskip("botocore.stub")

SUBNETS = ["subnet-1", "subnet-2"]


@pytest.fixture(scope="module")
def session():
    """One for all tests, as it takes long to read what EC2 knows."""
    return boto3.session.Session(region_name="us-east-1")


@pytest.fixture
def provider(monkeypatch, tmp_path, session, record_property):
    """A provider whose network is there, and whose client answers what a test has put into `provider.ec2`."""
    record_proof(record_property, "AWSProvider", "SingleNodeLauncher", "ec2-answers")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    provider = AWSProvider("ami-1", "key", region="us-east-1", worker_init="true")
    provider.script_dir = str(tmp_path)
    provider.session = session
    provider.initialize_boto_client()
    network = {"vpc_id": "vpc-1", "internet_gateway_id": "igw-1", "security_group_id": "sg-1", "subnet_ids": SUBNETS}
    provider.network.restore(network)
    with stub.Stubber(provider.client) as ec2:
        provider.ec2 = ec2
        yield provider
        ec2.assert_no_pending_responses()
        # At the end of the program nobody answers.
        ec2.add_response("describe_instances", {"Reservations": []})
        for verb in ("delete_security_group", "delete_subnet", "delete_subnet", "detach_internet_gateway"):
            ec2.add_response(verb, {})
        ec2.add_response("delete_internet_gateway", {})
        ec2.add_response("delete_vpc", {})
        provider.network.restore(network)
        provider.teardown()


def made(instance="i-1"):
    return {"Instances": [{"InstanceId": instance}]}


def submit(provider, instance="i-1", **expected: Any) -> str:
    provider.ec2.add_response("run_instances", made(instance), expected or None)
    return provider.submit("run this", 1, "parsl.block-0")


def machine(state, code=None, message=None, instance="i-1") -> dict[str, Any]:
    described = {"InstanceId": instance, "State": {"Name": state}}
    if code is not None:
        described["StateReason"] = {"Code": code, "Message": message or code}
    return described


def look(provider, *machines: dict[str, Any], job="i-1"):
    wanted = {"Filters": [{"Name": f"tag:{RUN_TAG}", "Values": [provider.run_id]}]}
    provider.ec2.add_response("describe_instances", {"Reservations": [{"Instances": list(machines)}]}, wanted)
    provider._watch.on_success()
    (status,) = provider.status([job])
    return status


def console(provider, text):
    answer = {
        "InstanceId": "i-1",
        "Timestamp": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "Output": text,
    }
    # boto3 decodes this output; the stubber puts its answers in after that.
    provider.ec2.add_response("get_console_output", answer, {"InstanceId": "i-1"})


# Submission


def test_a_machine_is_asked_for(provider):
    job = submit(
        provider,
        ImageId="ami-1",
        InstanceType="t2.small",
        MinCount=1,
        MaxCount=1,
        KeyName="key",
        UserData=stub.ANY,
        ClientToken=stub.ANY,
        SubnetId="subnet-1",
        SecurityGroupIds=["sg-1"],
        InstanceInitiatedShutdownBehavior="terminate",
        TagSpecifications=[
            {
                "ResourceType": kind,
                "Tags": [{"Key": "Name", "Value": "parsl.block-0"}, {"Key": RUN_TAG, "Value": provider.run_id}],
            }
            for kind in ("instance", "volume")
        ],
    )
    assert job == "i-1"
    assert provider.resources[job]["job_name"] == "parsl.block-0"
    assert look(provider, machine("pending")).state is JobState.PENDING


def test_spot_machines_role_and_no_key(provider):
    provider.spot_max_bid = 0.25
    provider.key_name = ""
    provider.iam_instance_profile_arn = "arn:aws:iam::1:instance-profile/x"
    request = provider._request("script", "name")
    options = {"MaxPrice": "0.25", "SpotInstanceType": "one-time"}
    assert request["InstanceMarketOptions"] == {"MarketType": "spot", "SpotOptions": options}
    assert request["IamInstanceProfile"] == {"Arn": "arn:aws:iam::1:instance-profile/x"}
    assert "KeyName" not in request


def test_a_zone_without_room_leads_to_the_next(provider):
    provider.ec2.add_client_error("run_instances", "InsufficientInstanceCapacity", "no room in this zone")
    assert submit(provider) == "i-1"


@pytest.mark.parametrize(
    ("code", "times"),
    [
        ("InsufficientInstanceCapacity", len(SUBNETS)),
        ("InvalidAMIID.NotFound", 1),
        ("InvalidKeyPair.NotFound", 1),
        ("InstanceLimitExceeded", 1),
        ("RequestExpired", 1),
        ("AuthFailure", 1),
        ("UnauthorizedOperation", 1),
    ],
)
def test_a_refusal_carries_the_words_of_ec2(provider, code, times):
    for _ in range(times):
        provider.ec2.add_client_error("run_instances", code, "The words of EC2.")
    with pytest.raises(SubmitException, match=rf"parsl\.block-0.*{code}.*The words of EC2"):
        provider.submit("run this", 1, "parsl.block-0")
    assert provider.resources == {}


def test_a_script_that_is_too_long_is_refused_before_ec2_is_asked(provider):
    provider.worker_init = "x" * 20000
    with pytest.raises(SubmitException, match="EC2 takes 16384"):
        provider.submit("run this", 1)


def test_missing_credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    provider = AWSProvider("ami-1", "key")
    with pytest.raises(SubmitException, match="credentials"):
        provider.submit("true", 1)
    provider.goodbye()


def test_a_network_that_cannot_be_finished_is_taken_back(provider):
    provider._network = Network(provider.client, provider.run_id)
    provider.ec2.add_response("create_vpc", {"Vpc": {"VpcId": "vpc-9"}})
    provider.ec2.add_response("describe_vpcs", {"Vpcs": [{"VpcId": "vpc-9", "State": "available"}]})
    provider.ec2.add_client_error("create_internet_gateway", "InternetGatewayLimitExceeded", "five is the limit")
    provider.ec2.add_response("delete_vpc", {}, {"VpcId": "vpc-9"})
    with pytest.raises(SubmitException, match="five is the limit"):
        provider.submit("true", 1)
    assert not provider.network.vpc_id


# Status


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (machine("pending"), JobState.PENDING, None),
        (machine("running"), JobState.RUNNING, None),
        (machine("shutting-down"), JobState.PENDING, "shutting-down"),
        (machine("stopping"), JobState.PENDING, "stopping"),
        (machine("hibernating"), JobState.PENDING, "hibernating"),
        (machine("terminated", "Client.UserInitiatedShutdown"), JobState.CANCELLED, "from outside"),
        (machine("terminated", "Server.SpotInstanceTermination"), JobState.FAILED, "SpotInstanceTermination"),
        (machine("terminated", "Client.InternalError", "bad snapshot"), JobState.FAILED, "bad snapshot"),
    ],
)
def test_states_of_ec2(provider, answer, state, words):
    status = look(provider, answer, job=submit(provider))
    assert status.state is state
    assert (status.message is None) if words is None else (words in status.message)


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (9, JobState.FAILED)])
def test_a_machine_that_switched_itself_off(provider, code, state):
    job = submit(provider)
    mark = provider.resources[job]["mark"]
    provider.ec2.add_response(
        "describe_instances",
        {"Reservations": [{"Instances": [machine("terminated", "Client.InstanceInitiatedShutdown")]}]},
    )
    console(provider, f"some output\nparsl-block {mark} exit code {code}\n")
    (status,) = provider.status([job])
    assert (status.state, status.exit_code) == (state, code)
    assert "some output" in status.stdout


def test_a_stopped_machine_is_terminated_when_its_end_is_known(provider):
    job = submit(provider)
    provider.ec2.add_response(
        "describe_instances", {"Reservations": [{"Instances": [machine("stopped", "Server.ScheduledStop")]}]}
    )
    provider.ec2.add_response("terminate_instances", {}, {"InstanceIds": [job]})
    assert provider.status([job])[0].state is JobState.FAILED


def test_a_machine_that_is_not_listed_yet_keeps_its_state(provider):
    job = submit(provider)
    for _ in range(5):
        assert look(provider, job=job).state is JobState.PENDING


def test_a_machine_that_vanishes_is_not_thought_dead_at_once(provider):
    job = submit(provider)
    look(provider, machine("running"))
    for _ in range(2):
        assert look(provider, job=job).state is JobState.RUNNING
    look(provider, machine("running"))
    for _ in range(2):
        assert look(provider, job=job).state is JobState.RUNNING
    for _ in range(3):
        provider.ec2.add_response("describe_instances", {"Reservations": []})
        provider.ec2.add_client_error("get_console_output", "InvalidInstanceID.NotFound", "gone")
        (status,) = provider.status([job])
    assert status.state is JobState.FAILED
    assert "no longer lists" in status.message


def test_an_api_that_fails_keeps_the_state_and_shows_its_words(provider):
    job = submit(provider)
    look(provider, machine("running"))
    clock = iter(range(0, 10**6, 1000))
    provider._clock = lambda: next(clock)
    for turn in range(3):
        provider.ec2.add_client_error("describe_instances", "RequestLimitExceeded", "Request limit exceeded.")
        (status,) = provider.status([job])
        assert status.state is JobState.RUNNING
        assert (status.message is not None) is (turn == 2)
    assert "Request limit exceeded" in status.message


# The end


def test_cancel_is_one_request(provider):
    jobs = [submit(provider, f"i-{n}") for n in range(3)]
    provider.ec2.add_response("terminate_instances", {}, {"InstanceIds": jobs})
    assert provider.cancel(jobs) == [True] * 3
    assert [status.state for status in provider.status(jobs)] == [JobState.CANCELLED] * 3


def test_cancel_that_is_refused(provider, caplog):
    job = submit(provider)
    for _ in range(2):
        provider.ec2.add_client_error("terminate_instances", "UnauthorizedOperation", "You may not.")
    assert provider.cancel([job]) == [False]
    assert "You may not." in caplog.text


def test_a_machine_that_ec2_forgot_does_not_spoil_the_end_of_others(provider):
    jobs = [submit(provider, "i-1"), submit(provider, "i-2")]
    look(provider, machine("running"))
    for _ in range(2):
        provider.ec2.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", "i-1 does not exist")
    provider.ec2.add_response("terminate_instances", {}, {"InstanceIds": ["i-2"]})
    assert provider.cancel(jobs) == [True, True]


def test_a_machine_that_ec2_does_not_know_yet_is_not_taken_for_ended(provider):
    job = submit(provider)
    for _ in range(2):
        provider.ec2.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", "i-1 does not exist")
    assert provider.cancel([job]) == [False]


def test_teardown_says_what_is_left(provider):
    provider.ec2.add_response("describe_instances", {"Reservations": []})
    provider.ec2.add_client_error("delete_security_group", "DependencyViolation", "has a dependent object")
    provider.ec2.add_response("delete_subnet", {})
    provider.ec2.add_client_error("delete_subnet", "InvalidSubnetID.NotFound", "not there")
    provider.ec2.add_response("detach_internet_gateway", {})
    provider.ec2.add_response("delete_internet_gateway", {})
    provider.ec2.add_client_error("delete_vpc", "DependencyViolation", "the vpc has dependencies")
    with pytest.raises(ExecutionProviderException, match=r"has a dependent object.*the vpc has dependencies"):
        provider.teardown()
    assert provider.network.state() == {
        "vpc_id": "vpc-1",
        "internet_gateway_id": None,
        "security_group_id": "sg-1",
        "subnet_ids": [],
    }


# Configuration


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"nodes_per_block": 2}, ConfigurationError),
        ({"spot_max_bid": -1}, ConfigurationError),
        ({"walltime": "an hour"}, ConfigurationError),
        ({"max_blocks": -1}, ConfigurationError),
        ({"launcher": "srun"}, BadLauncher),
        ({"region": 7}, TypeError),
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(error):
        AWSProvider("ami-1", "key", **arguments)


@pytest.mark.parametrize("text", [None, "no json", "[]", '{"AWSAccessKeyId": "x"}'])
def test_a_bad_key_file(tmp_path, text):
    path = tmp_path / "keys.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"keys\.json"):
        AWSProvider("ami-1", "key", key_file=str(path)).create_session()


def test_a_key_file(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text('{"AWSAccessKeyId": "me", "AWSSecretKey": "secret"}')
    session = AWSProvider("ami-1", "key", key_file=str(path)).create_session()
    assert session.get_credentials().access_key == "me"
    assert session.region_name == "us-east-2"


def test_a_profile_that_does_not_exist():
    with pytest.raises(ConfigurationError, match="no-such-profile"):
        AWSProvider("ami-1", "key", profile="no-such-profile").create_session()


GOOD_STATE = {
    "region": "us-east-1",
    "instances": ["i-7"],
    "network": {"vpc_id": "vpc-7", "internet_gateway_id": "igw-7", "security_group_id": "sg-7", "subnet_ids": ["s-7"]},
}


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "can't be read"), ("{}", "has no instances, network, region"), ("3", "can't be read")],
)
def test_a_bad_state_file(provider, tmp_path, text, words):
    path = tmp_path / "state"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        provider.read_state_file(str(path))


def test_a_state_file_of_another_region(provider, tmp_path):
    path = tmp_path / "state"
    path.write_text(json.dumps({**GOOD_STATE, "region": "eu-west-1"}))
    with pytest.raises(ConfigurationError, match="eu-west-1"):
        provider.read_state_file(str(path))


def test_a_state_file_whose_network_is_gone(provider, tmp_path, caplog):
    path = tmp_path / "state"
    path.write_text(json.dumps(GOOD_STATE))
    provider.ec2.add_response("describe_vpcs", {"Vpcs": []})
    provider.read_state_file(str(path))
    assert not provider.network.complete
    assert "is gone" in caplog.text
    provider._earlier_instances = []
