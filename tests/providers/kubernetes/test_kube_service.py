"""Against a real API server and scheduler, whose nodes run the commands of pods as processes.

Building them takes long, so this is skipped unless they are there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from parsl import Config, DataFlowKernel, HighThroughputExecutor, python_app
from parsl.jobs.states import JobState
from parsl.providers import KubernetesProvider
from parsl.providers.errors import SubmitException
from tests.cloud_services import record_proof, service

pytestmark = pytest.mark.services
client = pytest.importorskip("kubernetes.client")
config = pytest.importorskip("kubernetes.config")

SOURCES = Path(__file__).parents[3] / "src"
PROGRAM = Path(os.environ.get("SVC_HOME") or "/tmp/svc") / "kubernetes" / "bin" / "kube-apiserver"


@pytest.fixture(scope="module")
def cluster():
    if not PROGRAM.exists():
        pytest.skip(f"no {PROGRAM}; its service's script builds it")
    with service("kubernetes") as variables:
        yield variables


@pytest.fixture(autouse=True)
def proof(cluster, record_property):
    record_proof(record_property, "KubernetesProvider", "-", "kubernetes")


@pytest.fixture
def make(cluster, monkeypatch, tmp_path):
    """Make providers, of which nothing may be left at the end of the test."""
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    providers = []

    def make(**arguments):
        provider = KubernetesProvider(
            **{"image": "python:3", "init_cpu": 0.1, "init_mem": "50Mi", "max_mem": "1Gi", **arguments}
        )
        provider.script_dir = str(tmp_path / "scripts")
        providers.append(provider)
        return provider

    yield make
    for provider in providers:
        provider.cancel(list(provider.resources))
        for pod in provider.api.list_namespaced_pod("default", label_selector=f"parsl-run={provider.run_id}").items:
            assert pod.metadata.deletion_timestamp is not None
        provider.api.api_client.close()


def status_when(provider, job, done, seconds=30):
    """Look until a status is as wanted; a cluster tells nobody when that is."""
    end = time.monotonic() + seconds
    while not done(status := provider.status([job])[0]):
        assert time.monotonic() < end, status
        time.sleep(0.1)
    return status


def test_a_block_comes_and_goes(make, tmp_path):
    provider = make()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    job = provider.submit(f"echo $HOSTNAME > {fifo}; exec sleep 1000", 1)
    assert fifo.read_text() == f"{job}\n"
    status_when(provider, job, lambda status: status.state is JobState.RUNNING)
    assert provider.cancel([job]) == [True]
    assert provider.status([job])[0].state is JobState.CANCELLED


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (3, JobState.FAILED)])
def test_exit_codes(make, code, state):
    provider = make()
    job = provider.submit(f"exit {code}", 1)
    status = status_when(provider, job, lambda status: status.terminal)
    assert (status.state, status.exit_code) == (state, code)


def test_a_pod_too_big_for_the_nodes_waits_and_says_so(make):
    provider = make(init_cpu=64, max_cpu=64)
    job = provider.submit("true", 1)
    status = status_when(provider, job, lambda status: status.message)
    assert status.state is JobState.PENDING
    assert "Unschedulable" in status.message


def test_an_image_that_is_not_there_is_given_up(make):
    provider = make(image="nonexistent")
    provider.start_patience = 0.5
    job = provider.submit("true", 1)
    status = status_when(provider, job, lambda status: status.terminal)
    assert status.state is JobState.FAILED
    assert "ErrImagePull" in status.message


def test_an_account_that_may_not_make_pods(make):
    provider = make(api_client=config.new_client_from_config(os.environ["KUBECONFIG"], context="limited"))
    with pytest.raises(SubmitException, match="forbidden"):
        provider.submit("true", 1)


def test_tasks_run_in_pods(make, tmp_path):
    environment = f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={SOURCES}"
    provider = make(nodes_per_block=2, init_blocks=1, max_blocks=1, worker_init=environment)
    executor = HighThroughputExecutor(
        label="kube", address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1, provider=provider
    )
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none")) as kernel:

        @python_app(data_flow_kernel=kernel)
        def where():
            import os

            return os.environ["HOSTNAME"]

        pods = {future.result(timeout=60) for future in [where() for _ in range(4)]}
        (job,) = executor.blocks_to_job_id.values()
        assert pods <= {f"{job}-0", f"{job}-1"}
