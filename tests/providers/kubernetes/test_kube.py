"""Against the real library and a fake of the API server that keeps pods as a test sets them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.providers import KubernetesProvider
from parsl.providers.errors import SubmitException
from tests.cloud_server import Answer, Request, serve
from tests.cloud_services import record_proof

client = pytest.importorskip("kubernetes.client")

PODS = "/api/v1/namespaces/default/pods"


def failure(code: int, reason: str, message: str) -> Answer:
    return Answer(code, {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})


class Cluster:
    """Pods by name; `broken` is what every request gets instead."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.broken: Answer | None = None
        self.refuse_after = 10**6
        self.url = ""

    def answer(self, request: Request) -> Answer:
        if self.broken is not None:
            return self.broken
        if request.path == PODS and request.verb == "POST":
            return self.create(request.body)
        if request.path == PODS and request.verb == "GET":
            key, value = request.query["labelSelector"].split("=")
            items = [pod for pod in self.pods.values() if pod["metadata"]["labels"].get(key) == value]
            return Answer(200, {"kind": "PodList", "metadata": {"resourceVersion": "9"}, "items": items})
        match = re.fullmatch(rf"{PODS}/([^/]+)(/log)?", request.path)
        assert match, request
        name, log = match.groups()
        if name not in self.pods:
            return failure(404, "NotFound", f'pods "{name}" not found')
        if log:
            return Answer(200, self.logs[name]) if name in self.logs else failure(400, "BadRequest", "no log")
        assert request.verb == "DELETE"
        return Answer(200, self.pods.pop(name))

    def create(self, pod: dict[str, Any]) -> Answer:
        if len(self.pods) >= self.refuse_after:
            return failure(403, "Forbidden", "exceeded quota: pods=2")
        pod["status"] = {"phase": "Pending"}
        self.pods[pod["metadata"]["name"]] = pod
        return Answer(201, pod)

    def set(self, name: str, phase: str, state: dict[str, Any] | None = None, **status: Any) -> None:
        containers = [] if state is None else [{"name": "parsl", "state": state}]
        self.pods[name]["status"] = {"phase": phase, "containerStatuses": containers, **status}


@pytest.fixture
def cluster():
    cluster = Cluster()
    with serve(cluster.answer) as server:
        cluster.url = server.url
        cluster.requests = server.requests
        yield cluster


@pytest.fixture
def make(cluster, tmp_path, record_property):
    record_proof(record_property, "KubernetesProvider", "-", "kubernetes-routes")
    clients = []

    def make(**arguments):
        settings = client.Configuration()
        settings.host = cluster.url
        settings.retries = 0
        clients.append(client.ApiClient(settings))
        provider = KubernetesProvider(**{"image": "python:3", "api_client": clients[-1], **arguments})
        provider.script_dir = str(tmp_path)
        provider.now = 0.0
        provider._clock = lambda: provider.now
        return provider

    yield make
    for one in clients:
        one.close()


def look(provider, job):
    provider.now += 1000
    return provider.status([job])[0]


# Submission


def test_a_pod_is_asked_for(cluster, make):
    provider = make(
        worker_init="source env",
        init_cpu=0.5,
        extra_requests={"ephemeral-storage": "1Gi"},
        extra_limits={"nvidia.com/gpu": "1"},
        user_id="1000",
        group_id=100,
        run_as_non_root=True,
        secret="pull",
        service_account_name="robot",
        annotations={"team": "a"},
        persistent_volumes=[("claim", "/data")],
    )
    job = provider.submit("run --this", 1, "parsl.htex.Block_0")
    assert re.fullmatch(r"parsl-htex-block-0-[0-9a-f]{12}-1", job)
    (pod,) = cluster.pods.values()
    assert pod["metadata"]["name"] == job
    assert pod["metadata"]["labels"] == {"app": "parsl", "parsl-run": provider.run_id, "parsl-job": job}
    assert pod["metadata"]["annotations"] == {"team": "a"}
    spec = pod["spec"]
    assert (spec["imagePullSecrets"], spec["serviceAccountName"]) == ([{"name": "pull"}], "robot")
    (container,) = spec["containers"]
    assert container["args"] == ["-c", "source env\n\nrun --this\n"]
    assert container["securityContext"] == {"runAsUser": 1000, "runAsGroup": 100, "runAsNonRoot": True}
    assert container["resources"] == {
        "requests": {"cpu": "0.5", "memory": "250Mi", "ephemeral-storage": "1Gi"},
        "limits": {"cpu": "2", "memory": "500Mi", "nvidia.com/gpu": "1"},
    }


def test_a_long_pod_name_is_cut(cluster, make):
    job = make(pod_name="My_Pods." + "x" * 100).submit("true", 1)
    assert job.startswith("my-pods-xxx")
    assert len(job) <= 63


def test_a_refusal_carries_the_words_of_the_cluster(cluster, make):
    cluster.refuse_after = 0
    with pytest.raises(SubmitException, match="exceeded quota: pods=2"):
        make().submit("true", 1)


def test_a_block_that_cannot_be_whole_is_not_made(cluster, make):
    cluster.refuse_after = 2
    with pytest.raises(SubmitException, match="exceeded quota"):
        make(nodes_per_block=3).submit("true", 1)
    assert cluster.pods == {}


@pytest.mark.parametrize(
    ("answer", "words"),
    [(failure(401, "Unauthorized", "Unauthorized"), "Unauthorized"), (Answer(502, "<html>Bad gateway"), "Bad gateway")],
)
def test_credentials_and_proxies(cluster, make, answer, words):
    cluster.broken = answer
    with pytest.raises(SubmitException, match=words):
        make().submit("true", 1)


def test_a_cluster_that_is_not_there(make):
    provider = make()
    provider.api_client.configuration.host = "http://127.0.0.1:9"
    with pytest.raises(SubmitException, match="Connection refused"):
        provider.submit("true", 1)


def test_no_cluster_is_configured(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="no cluster"):
        KubernetesProvider("python:3").submit("true", 1)


def test_a_cluster_may_be_named_after_the_library_was_imported(monkeypatch, tmp_path):
    (tmp_path / "config").write_text(
        """{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}], "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:9"}}]}"""
    )
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'config'}:{tmp_path / 'none'}")
    with KubernetesProvider("python:3").api.api_client as client:
        assert client.configuration.host == "http://127.0.0.1:9"


# Status


def test_the_life_of_a_block(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    assert look(provider, job).state is JobState.PENDING
    cluster.set(job, "Running", {"running": {}})
    assert look(provider, job).state is JobState.RUNNING
    cluster.set(job, "Succeeded", {"terminated": {"exitCode": 0, "reason": "Completed"}})
    status = look(provider, job)
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)
    assert cluster.pods == {}  # it is deleted, and stays completed
    assert look(provider, job).state is JobState.COMPLETED


def test_what_a_failed_pod_printed_is_kept(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    cluster.logs[job] = "python: command not found\n"
    cluster.set(job, "Failed", {"terminated": {"exitCode": 127, "reason": "Error"}})
    status = look(provider, job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 127)
    assert "command not found" in status.stderr_summary
    assert cluster.pods == {}


def test_a_failed_pod_without_a_log(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    cluster.set(job, "Failed", {"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    status = look(provider, job)
    assert "OOMKilled" in status.message
    assert status.stdout_path is None


def test_an_image_that_cannot_be_pulled_is_given_up(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    cluster.set(job, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})
    for moment, state in ((0, JobState.PENDING), (119, JobState.PENDING), (120, JobState.FAILED)):
        provider.now = moment
        (status,) = provider.status([job])
        assert status.state is state
        assert "no such image" in status.message
    assert cluster.pods == {}


def test_an_image_that_comes_late_is_waited_for_anew(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    for turn in range(4):
        cluster.set(job, "Pending", {"waiting": {"reason": ("ErrImagePull", "ContainerCreating")[turn % 2]}})
        assert look(provider, job).state is JobState.PENDING


def test_a_pod_that_finds_no_node_waits(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    cluster.set(job, "Pending", conditions=[condition])
    for _ in range(3):
        status = look(provider, job)
        assert (status.state, status.message) == (JobState.PENDING, "Unschedulable: 0/2 nodes")


def test_a_pod_deleted_from_outside(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    cluster.pods.clear()
    status = look(provider, job)
    assert status.state is JobState.CANCELLED
    assert "deleted" in status.message


def test_a_lost_node_keeps_the_state(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    cluster.set(job, "Running")
    look(provider, job)
    cluster.set(job, "Unknown", reason="NodeLost")
    status = look(provider, job)
    assert (status.state, status.message) == (JobState.RUNNING, "NodeLost")


def test_pods_of_others_are_left_alone(cluster, make):
    one, other = make(), make()
    jobs = [one.submit("true", 1), other.submit("true", 1)]
    assert one.status([jobs[1]])[0].state is JobState.UNKNOWN
    assert one.cancel(jobs) == [True, False]
    assert list(cluster.pods) == [jobs[1]]


def test_a_block_of_several_pods(cluster, make):
    provider = make(nodes_per_block=2)
    job = provider.submit("true", 1)
    first, second = (f"{job}-0", f"{job}-1")
    assert set(cluster.pods) == {first, second}
    cluster.set(first, "Running")
    assert look(provider, job).state is JobState.PENDING
    cluster.set(second, "Running")
    assert look(provider, job).state is JobState.RUNNING
    cluster.set(second, "Failed", {"terminated": {"exitCode": 1, "reason": "Error"}})
    status = look(provider, job)
    assert status.state is JobState.FAILED
    assert status.message.startswith(second)
    assert cluster.pods == {}


def test_many_blocks_are_one_request(cluster, make):
    provider = make()
    jobs = [provider.submit("true", 1) for _ in range(10)]
    before = len(cluster.requests)
    provider.status(jobs)
    assert len(cluster.requests) == before + 1


def test_an_api_server_that_fails(cluster, make):
    provider = make()
    job = provider.submit("true", 1)
    cluster.set(job, "Running")
    look(provider, job)
    cluster.broken = failure(500, "InternalError", "etcdserver: request timed out")
    statuses = [look(provider, job) for _ in range(3)]
    assert {status.state for status in statuses} == {JobState.RUNNING}
    assert [status.message is None for status in statuses] == [True, True, False]
    assert "etcdserver: request timed out" in statuses[2].message


@pytest.mark.parametrize("answer", [Answer(200, "<html>Log in</html>"), Answer(200, {}), Answer(200, {"items": []})])
def test_an_answer_that_makes_no_sense_is_no_end(cluster, make, answer):
    provider = make()
    job = provider.submit("true", 1)
    cluster.broken = answer
    statuses = [look(provider, job) for _ in range(3)]
    assert {status.state for status in statuses} == {JobState.PENDING}
    assert statuses[2].message is not None


# The end


def test_cancel(cluster, make):
    provider = make(nodes_per_block=2)
    jobs = [provider.submit("true", 1) for _ in range(2)]
    cluster.pods.pop(f"{jobs[0]}-1")
    assert provider.cancel(jobs) == [True, True]
    assert cluster.pods == {}
    assert [status.state for status in provider.status(jobs)] == [JobState.CANCELLED] * 2


def test_cancel_that_is_refused(cluster, make, caplog):
    provider = make()
    job = provider.submit("true", 1)
    cluster.broken = failure(403, "Forbidden", "pods is forbidden")
    assert provider.cancel([job]) == [False]
    assert "pods is forbidden" in caplog.text
    cluster.broken = None
    assert provider.cancel([job]) == [True]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"init_cpu": 3}, ConfigurationError),
        ({"nodes_per_block": 0}, ConfigurationError),
        ({"persistent_volumes": [("claim",)]}, TypeError),
        ({"annotations": "team=a"}, TypeError),
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(error):
        KubernetesProvider("python:3", **arguments)


def test_a_pod_runs_one_copy(make):
    with pytest.raises(ConfigurationError, match="one copy"):
        make().submit("true", 2)
