"""The doctor on real batch systems and clouds' stand-ins."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from parsl import Config, HighThroughputExecutor
from parsl.doctor.case import Case
from parsl.doctor.clouds import check_cloud
from parsl.doctor.examination import examine_executor
from parsl.doctor.findings import Mark
from parsl.doctor.probe import HostProbe
from parsl.doctor.report import Report
from parsl.doctor.trial import run_trial
from parsl.launchers import SrunLauncher
from parsl.providers import (
    AWSProvider,
    CondorProvider,
    GridEngineProvider,
    KubernetesProvider,
    SlurmProvider,
    TorqueProvider,
)
from tests.cloud_services import service
from tests.doctor.fakes import bad, marks

pytestmark = [pytest.mark.services, pytest.mark.slow]

INIT = f"export PYTHONPATH={Path(__file__).parents[2] / 'src'}"


def enter(name, patch):
    """Use a service's variables."""
    with service(name) as variables:
        for key, value in variables.items():
            patch.setenv(key, value.replace("$PATH", os.environ["PATH"]))
        yield


@pytest.fixture(scope="module")
def slurm():
    with pytest.MonkeyPatch.context() as patch:
        yield from enter("slurm", patch)


@pytest.fixture
def grid_engine(monkeypatch):
    yield from enter("gridengine", monkeypatch)


@pytest.fixture
def condor(monkeypatch):
    yield from enter("htcondor", monkeypatch)


@pytest.fixture
def torque(monkeypatch):
    yield from enter("torque", monkeypatch)


@pytest.fixture
def kubernetes(monkeypatch):
    pytest.importorskip("kubernetes")
    yield from enter("kubernetes", monkeypatch)


@pytest.fixture
def moto(monkeypatch):
    pytest.importorskip("boto3")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield from enter("moto", monkeypatch)


def executor(provider):
    return HighThroughputExecutor(
        label="x", max_workers_per_node=1, cores_per_worker=0.1, provider=provider, address_probe_timeout=10
    )


def slurm_provider(**options):
    defaults = {"partition": "debug", "walltime": "00:05:00", "worker_init": INIT, "launcher": SrunLauncher()}
    return SlurmProvider(**{**defaults, **options})


def examined(provider, tmp_path):
    return list(examine_executor(Case(executor(provider), str(tmp_path)), HostProbe()))


def failed(findings):
    return [finding for finding in findings if finding.mark is Mark.FAIL]


def tried(provider, tmp_path, seconds=90.0):
    report = Report()
    run_trial(Config(executors=[executor(provider)], run_dir=str(tmp_path)), ["x"], seconds, report)
    return report


def assert_gone(provider):
    """See that Slurm has nothing of ours any more; it ends jobs a moment after scancel."""
    pause = threading.Event()
    (job_id,) = provider.resources
    for _ in range(150):
        listed = subprocess.run(["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True)
        if job_id not in listed.stdout.split():
            return
        pause.wait(0.2)
    pytest.fail(f"job {job_id} is still there after 30 s")


def test_slurm_from_end_to_end(slurm, tmp_path):
    found = examined(slurm_provider(nodes_per_block=2), tmp_path)
    assert not failed(found)
    assert found[-2].text.startswith("Slurm answers; partitions: debug")
    assert found[-1].text.startswith("Slurm would ")
    provider = slurm_provider()
    report = tried(provider, tmp_path)
    assert (report.count(Mark.OK), report.exit_code) == (1, 0)
    assert_gone(provider)


@pytest.mark.parametrize(
    ("options", "check", "words"),
    [
        ({"partition": "nosuch"}, "partition", "there is no partition 'nosuch'"),
        ({"nodes_per_block": 50}, "partition", "fewer than the 50"),
        ({"partition": "short", "walltime": "09:00:00"}, "walltime", "allows (2 min)"),
        ({"constraint": "nosuchfeature"}, "options", "Slurm would refuse"),
        ({"gpus_per_node": 99}, "options", "Slurm would refuse"),
    ],
)
def test_slurm_would_not_take_it(slurm, tmp_path, options, check, words):
    (finding,) = failed(examined(slurm_provider(**options), tmp_path))
    assert finding.check == check
    assert words in finding.text


def test_slurm_block_that_cannot_start(slurm, tmp_path):
    provider = slurm_provider(worker_init="echo 'the file system is read-only' >&2; exit 9")
    report = tried(provider, tmp_path)
    document = report.as_json("")
    assert report.exit_code == 1
    assert "the file system is read-only" in document
    assert "exit code 9" in document
    assert_gone(provider)


def test_grid_engine(grid_engine, tmp_path):
    assert not failed(examined(GridEngineProvider(queue="all.q", worker_init=INIT), tmp_path))
    options = {"queue": "nosuch", "scheduler_options": "#$ -pe nosuch 2"}
    found = failed(examined(GridEngineProvider(**options), tmp_path))
    assert [finding.text for finding in found] == [
        "there is no queue 'nosuch'",
        "there is no parallel environment 'nosuch'",
    ]


def test_condor(condor, tmp_path):
    found = examined(CondorProvider(worker_init=INIT), tmp_path)
    assert not failed(found)
    assert found[-1].text.startswith("HTCondor answers; slots: ")


def test_torque(torque, tmp_path):
    assert not failed(examined(TorqueProvider(queue="debug", launcher=SrunLauncher(), worker_init=INIT), tmp_path))
    (finding,) = failed(examined(TorqueProvider(queue="nosuch", launcher=SrunLauncher()), tmp_path))
    assert (finding.text, finding.remedy) == ("there is no queue 'nosuch'", "choose one of: debug, short")


def test_kubernetes(kubernetes):
    from kubernetes.config import new_client_from_config

    checks = ["cluster", "namespace", "permission"]
    # The library looks at KUBECONFIG once, when it is imported.
    with new_client_from_config(config_file=os.environ["KUBECONFIG"]) as client:
        assert marks(check_cloud(KubernetesProvider(image="x", api_client=client))) == [
            ("ok", check) for check in checks
        ]
        (finding,) = bad(check_cloud(KubernetesProvider(image="x", namespace="nosuch", api_client=client)))
    assert finding.text == "there is no namespace 'nosuch'"


def test_aws(moto):
    client = AWSProvider(image_id="i", key_name="", region="us-east-1").initialize_boto_client()
    known = client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    assert not bad(check_cloud(AWSProvider(image_id=known, key_name="", region="us-east-1")))
    found = bad(check_cloud(AWSProvider(image_id="ami-nosuch", key_name="nosuch", region="us-east-1")))
    assert marks(found) == [("FAIL", "image"), ("FAIL", "key pair")]
