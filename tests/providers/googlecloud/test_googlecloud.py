"""Against Google's own library and a fake of the Compute API whose machines are as a test sets them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.providers import GoogleCloudProvider
from parsl.providers.errors import SubmitException
from tests.cloud_server import Answer, Request, serve
from tests.cloud_services import record_proof

pytest.importorskip("google.cloud.compute_v1")
auth = pytest.importorskip("google.auth.credentials")

PROJECT = "/compute/v1/projects/proj"
ZONE = f"{PROJECT}/zones/us-central1-b"


def failure(code: int, status: str, message: str) -> Answer:
    return Answer(
        code, {"error": {"code": code, "message": message, "errors": [{"reason": status, "message": message}]}}
    )


class Compute:
    """Machines by name; `broken` is what every request gets instead."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.consoles: dict[str, str] = {}
        self.operation_error: dict[str, Any] | None = None
        self.late = False
        self.broken: Answer | None = None

    def answer(self, request: Request) -> Answer:
        if self.broken is not None:
            return self.broken
        verb, path = request.verb, request.path
        if path == f"{PROJECT}/zones":
            return Answer(
                200, {"items": [self.zone("us-central1-a", "DOWN"), self.zone("us-central1-b"), self.zone("eu-1-a")]}
            )
        if path == f"{ZONE}/instances":
            return self.insert(request.body) if verb == "POST" else Answer(200, {"items": self.listed(request)})
        if re.match(rf"{ZONE}/operations/op-\d+(/wait)?$", path):
            if path.endswith("/wait"):
                self.late = False
            return Answer(200, self.operation())
        match = re.fullmatch(rf"{ZONE}/instances/([^/]+)(/serialPort)?", path)
        assert match, request
        name, port = match.groups()
        if name not in self.machines or self.late:
            return failure(404, "notFound", f"The resource '{name}' was not found")
        if port:
            return Answer(200, {"contents": self.consoles.get(name, ""), "start": "0", "next": "9"})
        assert verb == "DELETE"
        del self.machines[name]
        return Answer(200, self.operation())

    def zone(self, name: str, status: str = "UP") -> dict[str, Any]:
        region = f"https://www.googleapis.com{PROJECT}/regions/{name.rpartition('-')[0]}"
        return {"name": name, "status": status, "region": region}

    def operation(self) -> dict[str, Any]:
        described = {"id": "77", "name": "op-77", "status": "DONE", "zone": ZONE}
        return {**described, "error": {"errors": [self.operation_error]}} if self.operation_error else described

    def insert(self, machine: dict[str, Any]) -> Answer:
        if self.operation_error is None:
            self.machines[machine["name"]] = {**machine, "id": "5", "status": "PROVISIONING"}
        return Answer(200, self.operation() if self.operation_error is None else {"name": "op-77", "status": "RUNNING"})

    def listed(self, request: Request) -> list[dict[str, Any]]:
        key, value = request.query["filter"].removeprefix("labels.").split("=")
        return [m for m in self.machines.values() if m["labels"].get(key) == value and not self.late]


@pytest.fixture
def compute():
    compute = Compute()
    with serve(compute.answer) as server:
        compute.url = server.url
        compute.requests = server.requests
        yield compute


@pytest.fixture
def make(compute, tmp_path, record_property):
    """Make providers, of which nothing may be left at the end of the test."""
    record_proof(record_property, "GoogleCloudProvider", "SingleNodeLauncher", "google-routes")
    providers = []

    def make(**arguments):
        given = {
            "project_id": "proj",
            "key_file": None,
            "region": "us-central1",
            "os_project": "debian-cloud",
            "os_family": "debian-12",
            "credentials": auth.AnonymousCredentials(),
            "client_options": {"api_endpoint": compute.url},
            **arguments,
        }
        provider = GoogleCloudProvider(**given)
        provider.script_dir = str(tmp_path)
        provider.now = 0.0
        provider._clock = lambda: provider.now
        providers.append(provider)
        return provider

    yield make
    compute.broken, compute.late = None, False
    for provider in providers:
        provider.bye()
    assert compute.machines == {}


def look(provider, job):
    provider.now += 1000
    return provider.status([job])[0]


def test_a_machine_is_asked_for(compute, make):
    provider = make(instance_type="e2-small")
    job = provider.submit("run 'this'", 1, "parsl.block-0")
    machine = compute.machines[job]
    assert machine["name"] == job == f"parsl-{provider.run_id}-1"
    assert machine["labels"] == {"parsl-run": provider.run_id}
    assert machine["machineType"] == "zones/us-central1-b/machineTypes/e2-small"
    (disk,) = machine["disks"]
    assert disk["autoDelete"]
    image = "projects/debian-cloud/global/images/family/debian-12"
    assert disk["initializeParams"] == {"sourceImage": image}
    (item,) = machine["metadata"]["items"]
    assert item["key"] == "startup-script"
    assert "run 'this'" in item["value"]
    assert provider.resources[job]["job_name"] == "parsl.block-0"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PROVISIONING", JobState.PENDING),
        ("STAGING", JobState.PENDING),
        ("RUNNING", JobState.RUNNING),
        ("SUSPENDED", JobState.HELD),
        ("REPAIRING", JobState.HELD),
        ("STOPPING", JobState.PENDING),
        ("SOMETHING_NEW", JobState.PENDING),
    ],
)
def test_states_of_google(compute, make, said, state):
    provider = make()
    job = provider.submit("true", 1)
    compute.machines[job]["status"] = said
    status = look(provider, job)
    assert status.state is state
    assert (status.message is None) is (said in {"PROVISIONING", "STAGING", "RUNNING"})


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (5, JobState.FAILED)])
def test_a_machine_that_switched_itself_off_is_deleted(compute, make, code, state):
    provider = make()
    job = provider.submit("true", 1)
    compute.machines[job]["status"] = "TERMINATED"
    compute.consoles[job] = f"words\nparsl-block {job} exit code {code}\n"
    status = look(provider, job)
    assert (status.state, status.exit_code) == (state, code)
    assert "words" in status.stdout
    assert compute.machines == {}


def test_a_preempted_machine_has_failed(compute, make):
    provider = make()
    job = provider.submit("true", 1)
    compute.machines[job].update(status="TERMINATED", statusMessage="Instance was preempted.")
    states = [look(provider, job) for _ in range(3)]
    assert [status.state for status in states] == [JobState.PENDING, JobState.PENDING, JobState.FAILED]
    assert "preempted" in states[-1].message


def test_a_machine_that_could_not_be_made(compute, make):
    provider = make()
    compute.operation_error = {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "The zone does not have enough."}
    job = provider.submit("true", 1)
    status = look(provider, job)
    assert status.state is JobState.FAILED
    assert "ZONE_RESOURCE_POOL_EXHAUSTED: The zone does not have enough." in status.message


def test_a_machine_deleted_from_outside(compute, make):
    provider = make()
    job = provider.submit("true", 1)
    look(provider, job)
    del compute.machines[job]
    assert look(provider, job).state is JobState.CANCELLED


def test_a_machine_that_is_late_keeps_its_state_and_can_be_cancelled(compute, make):
    provider = make()
    job = provider.submit("true", 1)
    compute.late = True
    assert look(provider, job).state is JobState.PENDING
    assert provider.cancel([job]) == [True]
    assert compute.machines == {}


def test_machines_of_others_are_left_alone(compute, make):
    one, other = make(), make()
    jobs = [one.submit("true", 1), other.submit("true", 1)]
    one.bye()
    assert list(compute.machines) == [jobs[1]]
    assert one.cancel([jobs[1]]) == [False]


def test_many_blocks_are_one_request(compute, make):
    provider = make()
    jobs = [provider.submit("true", 1) for _ in range(10)]
    before = len(compute.requests)
    provider.status(jobs)
    assert len(compute.requests) == before + 1


def test_a_service_that_fails(compute, make, caplog):
    provider = make()
    job = provider.submit("true", 1)
    compute.machines[job]["status"] = "RUNNING"
    look(provider, job)
    compute.broken = failure(503, "backendError", "Backend error, try again")
    statuses = [look(provider, job) for _ in range(3)]
    assert {status.state for status in statuses} == {JobState.RUNNING}
    assert [status.message is None for status in statuses] == [True, True, False]
    assert "Backend error" in statuses[2].message
    assert provider.cancel([job]) == [False]
    assert "Backend error" in caplog.text


@pytest.mark.parametrize("answer", [Answer(200, "<html>Log in</html>"), Answer(200, {"items": [{"id": "x"}]})])
def test_an_answer_that_makes_no_sense_is_no_end(compute, make, answer):
    provider = make()
    job = provider.submit("true", 1)
    look(provider, job)
    compute.broken = answer
    assert [look(provider, job).state for _ in range(4)] == [JobState.PENDING] * 4


@pytest.mark.parametrize(
    ("code", "words"),
    [(403, "Quota 'CPUS' exceeded"), (401, "credentials cannot be refreshed"), (404, "family was not found")],
)
def test_a_refusal_carries_the_words_of_google(compute, make, code, words):
    provider = make(region="us-central1-b")
    compute.broken = failure(code, "reason", words)
    with pytest.raises(SubmitException, match=words):
        provider.submit("true", 1)
    assert provider.resources == {}


def test_a_service_that_is_not_there(make):
    provider = make(region="us-central1-b", client_options={"api_endpoint": "http://127.0.0.1:9"})
    with pytest.raises(SubmitException, match=r"127\.0\.0\.1"):
        provider.submit("true", 1)
    provider._clients.clear()
    provider.client_options = {"api_endpoint": "http://127.0.0.1:9"}


def test_zones(make):
    provider = make()
    assert provider.get_zone("us-central1") == "us-central1-b"
    assert provider.get_zone("us-central1-f") == "us-central1-f"
    with pytest.raises(ConfigurationError, match=r"mars-1.*eu-1, us-central1"):
        provider.get_zone("mars-1")


def test_create_and_delete_by_hand(compute, make):
    provider = make()
    name = provider.create_instance("true")
    assert name in compute.machines
    provider.delete_instance(name)
    provider.delete_instance(name)
    assert compute.machines == {}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"google_version": "beta"}, ConfigurationError),
        ({"max_blocks": -1}, ConfigurationError),
        ({"region": 1}, TypeError),
    ],
)
def test_bad_arguments(make, arguments, error):
    with pytest.raises(error):
        make(**arguments)


@pytest.mark.parametrize("text", [None, "no json", '{"type": "service_account"}'])
def test_a_bad_key_file(make, tmp_path, text):
    path = tmp_path / "key.json"
    if text is not None:
        path.write_text(text)
    provider = make(key_file=str(path), credentials=None)
    with pytest.raises(ConfigurationError, match=r"key\.json"):
        provider.submit("true", 1)
    provider.credentials = auth.AnonymousCredentials()
