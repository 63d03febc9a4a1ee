"""Against the real boto3 and a stand-in of EC2 whose machines run their user data as processes of this one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from parsl import Config, DataFlowKernel, HighThroughputExecutor, python_app
from parsl.jobs.states import JobState
from parsl.providers import AWSProvider
from tests.cloud_services import record_proof, service

pytestmark = pytest.mark.services
boto3 = pytest.importorskip("boto3")

SOURCES = Path(__file__).parents[3] / "src"


@pytest.fixture(scope="module")
def endpoint():
    with service("moto") as variables:
        yield variables


@pytest.fixture
def ec2(endpoint, monkeypatch):
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in endpoint.items():
        monkeypatch.setenv(name, value)
    return boto3.client("ec2", region_name="us-east-1")


def live_machines(ec2):
    states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    answer = ec2.describe_instances(Filters=[states])
    return {i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]}


def networks(ec2):
    groups = {group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    gateways = {gateway["InternetGatewayId"] for gateway in ec2.describe_internet_gateways()["InternetGateways"]}
    subnets = {subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]}
    return {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]} | groups | gateways | subnets


@pytest.fixture(autouse=True)
def proof(endpoint, record_property):
    record_proof(record_property, "AWSProvider", "SingleNodeLauncher", "moto")


@pytest.fixture
def make(ec2, tmp_path):
    """Make providers, of which nothing may be left at the end of the test."""
    before = live_machines(ec2), networks(ec2)
    providers = []
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]

    def make(**arguments):
        provider = AWSProvider(
            **{"image_id": image, "key_name": "", "region": "us-east-1", "instance_type": "t3.micro", **arguments}
        )
        provider.script_dir = str(tmp_path / "scripts")
        providers.append(provider)
        return provider

    yield make
    for provider in providers:
        provider.teardown()
    assert (live_machines(ec2), networks(ec2)) == before


@pytest.fixture
def stranger(ec2):
    """A machine of somebody else in the same account."""
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    instance = made["Instances"][0]["InstanceId"]
    yield instance
    ec2.terminate_instances(InstanceIds=[instance])


def test_a_block_comes_and_goes(ec2, make, tmp_path, stranger):
    provider = make()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    job = provider.submit(f"echo $INSTANCE_ID > {fifo}; exec sleep 1000", 1)
    assert fifo.read_text() == f"{job}\n"  # the machine runs the command
    assert [status.state for status in provider.status([job])] == [JobState.RUNNING]
    assert set(provider.get_instance_state()) == {job}
    assert job in provider.show_summary()
    assert provider.cancel([job]) == [True]
    assert provider.status([job])[0].state is JobState.CANCELLED
    provider.teardown()
    assert stranger in live_machines(ec2)


def test_a_machine_ended_from_outside(ec2, make):
    provider = make()
    job = provider.submit("exec sleep 1000", 1)
    ec2.terminate_instances(InstanceIds=[job])
    assert provider.status([job])[0].state is JobState.CANCELLED


def test_the_network_of_an_earlier_run_is_used_and_its_machines_are_ended(ec2, make, tmp_path):
    state_file = str(tmp_path / "state.json")
    first = make(state_file=state_file)
    job = first.submit("exec sleep 1000", 1)
    network = first.network.state()
    second = make(state_file=state_file)
    other = second.submit("exec sleep 1000", 1)
    assert second.network.state() == network
    assert set(second.get_instance_state()) == {other}
    state = json.loads(Path(state_file).read_text())
    assert state["instances"] == [job, other]
    second._earlier_instances.append("i-0123456789abcdef0")  # ended long ago, and forgotten
    second.teardown()
    assert live_machines(ec2).isdisjoint({job, other})
    assert not os.path.exists(state_file)


def test_at_the_end_of_a_program_a_state_file_keeps_the_network_alone(ec2, make, tmp_path):
    provider = make(state_file=str(tmp_path / "state.json"))
    job = provider.submit("exec sleep 1000", 1)
    provider.goodbye()
    assert job not in live_machines(ec2)
    assert provider.network.vpc_id in networks(ec2)


def test_at_the_end_of_a_program_nothing_is_kept(ec2, make, tmp_path):
    provider = make()
    before = networks(ec2)
    job = provider.submit("exec sleep 1000", 1)
    assert list((tmp_path / "scripts").glob("aws-*.json"))
    provider.goodbye()
    assert job not in live_machines(ec2)
    assert networks(ec2) == before
    assert not list((tmp_path / "scripts").glob("aws-*.json"))


def test_a_lingering_machine_is_left_on(ec2, make):
    provider = make(linger=True)
    job = provider.submit("exit 0", 1)
    assert provider.cancel([job]) == [False]
    provider.goodbye()
    assert job in live_machines(ec2)


def test_an_endpoint_where_nobody_listens(ec2, make, monkeypatch):
    provider = make()
    job = provider.submit("exec sleep 1000", 1)
    provider.status([job])
    good = provider.client
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    provider.client = boto3.session.Session(region_name="us-east-1").client("ec2")
    provider.network.client = provider.client
    clock = iter(range(0, 10**6, 1000))
    provider._clock = lambda: next(clock)
    status = [provider.status([job])[0] for _ in range(3)][-1]
    provider.client = provider.network.client = good
    assert status.state is JobState.RUNNING
    assert "127.0.0.1:9" in status.message


def test_tasks_run_on_a_machine(ec2, make, tmp_path):
    provider = make(
        max_blocks=1,
        worker_init=f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={SOURCES}",
    )
    provider.script_dir = None  # as a user leaves it: the executor chooses
    executor = HighThroughputExecutor(
        label="ec2", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, provider=provider
    )
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:

        @python_app(data_flow_kernel=kernel)
        def where():
            import os

            return os.environ["INSTANCE_ID"]

        machines = {future.result(timeout=60) for future in [where() for _ in range(4)]}
        assert machines == set(executor.blocks_to_job_id.values())
    assert live_machines(ec2).isdisjoint(machines)
