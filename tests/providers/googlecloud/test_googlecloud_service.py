"""Against Google's own library and a stand-in of its service, whose machines run their start-up script as processes."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest

from parsl import Config, DataFlowKernel, HighThroughputExecutor, python_app
from parsl.jobs.states import JobState
from parsl.launchers import WrappedLauncher
from parsl.providers import GoogleCloudProvider
from tests.cloud_server import Answer, Request, serve
from tests.cloud_services import record_proof, service

pytestmark = pytest.mark.services
pytest.importorskip("google.cloud.compute_v1")
auth = pytest.importorskip("google.auth.credentials")

SOURCES = Path(__file__).parents[3] / "src"


@pytest.fixture(scope="module")
def stand_in():
    with service("gcp") as variables:
        yield variables


@pytest.fixture
def endpoint(stand_in):
    """The stand-in behind a server that mends what Google's library would not read: ids that are not decimal."""
    target = stand_in["GCP_TEST_ENDPOINT"].removesuffix("/compute/v1/")

    def forward(request: Request) -> Answer:
        body = None if request.body is None else json.dumps(request.body).encode()
        address = f"{target}{request.path}?{urlencode(request.query)}"
        headers = {"Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(address, body, headers, method=request.verb), timeout=10
            ) as answer:
                found = json.load(answer)
                return Answer(answer.status, mended(found))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.load(error))

    with serve(forward) as server:
        yield server.url


def mended(answer):
    if isinstance(answer, list):
        return [mended(item) for item in answer]
    if isinstance(answer, dict):
        return {k: str(int(v, 16) % 2**63) if k in {"id", "targetId"} else mended(v) for k, v in answer.items()}
    return answer


@pytest.fixture(autouse=True)
def proof(stand_in, record_property):
    record_proof(record_property, "GoogleCloudProvider", "WrappedLauncher", "gcp")


@pytest.fixture
def make(stand_in, endpoint, tmp_path):
    """Make providers, of which nothing may be left at the end of the test."""
    providers = []

    def make(**arguments):
        provider = GoogleCloudProvider(
            stand_in["GCP_TEST_PROJECT"],
            None,
            stand_in["GCP_TEST_ZONE"],
            "debian-cloud",
            "debian-12",
            credentials=auth.AnonymousCredentials(),
            client_options={"api_endpoint": endpoint},
            **arguments,
        )
        providers.append(provider)
        return provider

    yield make
    for provider in providers:
        zone = provider.zone
        listed = provider._call("Instances", "list", zone=zone)
        assert [machine.name for machine in listed if provider.run_id in machine.name] == []
        provider.bye()


def test_a_block_comes_and_goes(make, tmp_path):
    provider = make()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    job = provider.submit(f"echo $INSTANCE_ID > {fifo}; exec sleep 1000", 1)
    assert fifo.read_text().startswith(f"{job}-")  # the machine runs the command
    assert provider.status([job])[0].state is JobState.RUNNING
    assert provider.cancel([job]) == [True]
    assert provider.status([job])[0].state is JobState.CANCELLED


def test_a_machine_deleted_from_outside(make):
    provider = make()
    job = provider.submit("exec sleep 1000", 1)
    assert provider.status([job])[0].state is JobState.RUNNING
    provider.delete_instance(job)
    assert provider.status([job])[0].state is JobState.CANCELLED


def test_tasks_run_on_a_machine(make, tmp_path):
    environment = f"PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={SOURCES}"
    provider = make(max_blocks=1, launcher=WrappedLauncher(environment))
    executor = HighThroughputExecutor(
        label="gce", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, provider=provider
    )
    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")) as kernel:

        @python_app(data_flow_kernel=kernel)
        def where():
            import os

            return os.environ["INSTANCE_ID"]

        machines = {future.result(timeout=60).rpartition("-")[0] for future in [where() for _ in range(4)]}
        assert machines == set(executor.blocks_to_job_id.values())
