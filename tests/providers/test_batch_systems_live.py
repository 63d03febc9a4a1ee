"""Blocks as jobs of real batch systems, and of programs that stand in for those which cannot be had."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.executors import HighThroughputExecutor
from parsl.jobs.states import JobState
from parsl.launchers import SingleNodeLauncher
from parsl.providers import (
    CondorProvider,
    GridEngineProvider,
    LSFProvider,
    PBSProProvider,
    SlurmProvider,
    TorqueProvider,
)
from parsl.providers.errors import SubmitException
from tests.cloud_services import record_proof, service
from tests.providers import array_front

pytestmark = [pytest.mark.services, pytest.mark.slow]

SOURCE = Path(__file__).parent.parent.parent / "src"
COMMON = {"init_blocks": 1, "max_blocks": 1, "walltime": "00:05:00", "launcher": SingleNodeLauncher()}

# Name: service, whether its commands are in a folder of their own, class, options, a queue that does not exist.
SYSTEMS = {
    "slurm": ("slurm", SlurmProvider, {"partition": "debug"}, {"partition": "nosuch"}),
    "grid_engine": ("gridengine", GridEngineProvider, {"queue": "all.q"}, {"queue": "nosuch"}),
    "condor": ("htcondor", CondorProvider, {"cores_per_slot": 2}, {"scheduler_options": "request_cpus = ("}),
    "torque": ("torque", TorqueProvider, {"queue": "debug"}, {"queue": "nosuch"}),
    "pbspro": ("lsf-pbspro", PBSProProvider, {"queue": "debug", "cpus_per_node": 2}, {"queue": "nosuch"}),
    "lsf": ("lsf-pbspro", LSFProvider, {"queue": "debug", "bsub_redirection": True}, {"queue": "nosuch"}),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request, tmp_path_factory):
    """Give the name of a batch system that is up, with its commands on PATH."""
    with service(SYSTEMS[request.param][0]) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            # One script gives both, and names LSF's folder.
            own = value.replace("/lsf-pbspro/lsf", f"/lsf-pbspro/{request.param}")
            if own != value or request.param == "lsf":
                front = tmp_path_factory.mktemp("front") / request.param
                array_front.install(front, own.partition(":")[0])
                own = f"{front}:{own}"
            patch.setenv(name, own.replace("$PATH", os.environ["PATH"]))
        yield request.param


@pytest.fixture
def provider(system, tmp_path, record_property):
    name, kind, options, _ = SYSTEMS[system]
    record_proof(record_property, kind.__name__, "SingleNodeLauncher", system if name == "lsf-pbspro" else name)
    provider = kind(**COMMON, **options, worker_init=f"export PYTHONPATH={SOURCE}")
    provider.script_dir = str(tmp_path / "scripts")
    yield provider
    provider.cancel(list(provider.resources))
    wait_until(lambda: all(status.terminal for status in provider.status(list(provider.resources))))
    assert left_in_queue(system, provider) == ""


def left_in_queue(system, provider):
    """Return what the queue still has of the provider's jobs."""
    command = {
        "slurm": "squeue --noheader",
        "grid_engine": "qstat",
        "condor": "condor_q -all -autoformat ClusterId",
        "torque": "squeue --noheader",
        "pbspro": "squeue --noheader",
        "lsf": "squeue --noheader",
    }[system]

    def listed():
        text = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
        lines = [line.split() for line in text.splitlines()]
        ours = {job_id.partition(".")[0] for job_id in provider.resources}
        return "\n".join(" ".join(line) for line in lines if line and line[0].partition("_")[0] in ours)

    wait_until(lambda: not listed(), strict=False)
    return listed()


def wait_until(condition, seconds=40, *, strict=True):
    """Return when `condition` is true; batch systems announce nothing to us."""
    pause = threading.Event()
    for _ in range(seconds * 5):
        if condition():
            return
        pause.wait(0.2)
    if strict:
        pytest.fail(f"not within {seconds} s")


def wait_for_state(provider, job_id, *wanted):
    wait_until(lambda: provider.status([job_id])[0].state in wanted)
    return provider.status([job_id])[0]


def test_a_job_that_ends_well(provider):
    job_id = provider.submit("echo hello; echo oops >&2", 1, "a name; with more")
    status = wait_for_state(provider, job_id, JobState.COMPLETED)
    assert status.exit_code == 0
    wait_until(lambda: provider.status([job_id])[0].stdout == "hello\n")
    assert "oops" in status.stderr_summary


def test_a_job_that_fails_tells_its_exit_code(provider):
    job_id = provider.submit("exit 7", 1)
    status = wait_for_state(provider, job_id, JobState.FAILED)
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)


def test_jobs_are_cancelled_with_one_command(provider):
    ids = [provider.submit("exec sleep 1000", 1) for _ in range(3)]
    for job_id in ids:
        wait_for_state(provider, job_id, JobState.RUNNING, JobState.PENDING)
    wait_for_state(provider, ids[0], JobState.RUNNING)
    assert provider.cancel(ids) == [True] * 3
    for job_id in ids:
        assert wait_for_state(provider, job_id, JobState.CANCELLED, JobState.FAILED).state is JobState.CANCELLED


def test_several_blocks_are_one_array(provider, system):
    commands = ["echo first", "echo second; exit 5", "exec sleep 1000", "exec sleep 1000"]
    ids = provider.submit_many(commands, 1)
    assert len(set(ids)) == 4
    if system == "torque":
        # Slurm's Torque commands take an array, but not the ids of its jobs.
        assert provider.blocks_per_submission == 1
    else:
        assert len({re.match(r"\d+", job_id)[0] for job_id in ids}) == 1
    first, second, third, fourth = ids
    assert wait_for_state(provider, first, JobState.COMPLETED).exit_code == 0
    assert wait_for_state(provider, second, JobState.FAILED).exit_code == 5
    wait_until(lambda: provider.status([first])[0].stdout == "first\n")
    wait_until(lambda: provider.status([second])[0].stdout == "second\n")
    for job_id in (third, fourth):
        wait_for_state(provider, job_id, JobState.RUNNING)
    assert provider.cancel([third]) == [True]
    wait_for_state(provider, third, JobState.CANCELLED)
    assert wait_for_state(provider, fourth, JobState.RUNNING).exit_code is None


def test_a_queue_that_does_not_exist(provider, system):
    for name, value in SYSTEMS[system][3].items():
        setattr(provider, name, value)
    with pytest.raises(SubmitException) as caught:
        provider.submit("true", 1)
    assert caught.value.retcode not in {0, None}
    assert "nosuch" in str(caught.value) or "Unknown queue" in str(caught.value) or "Parse error" in str(caught.value)
    assert provider.resources == {}


def test_a_job_that_somebody_else_killed_did_not_complete(provider):
    job_id = provider.submit("kill -KILL $$", 1)
    status = wait_for_state(provider, job_id, JobState.FAILED, JobState.CANCELLED, JobState.COMPLETED)
    assert status.state is not JobState.COMPLETED


@pytest.mark.parametrize("system", ["grid_engine"], indirect=True)
def test_a_walltime_that_is_over_is_a_timeout(provider):
    provider.walltime = "00:00:03"
    job_id = provider.submit("exec sleep 1000", 1)
    assert wait_for_state(provider, job_id, JobState.TIMEOUT, JobState.FAILED).state is JobState.TIMEOUT


@pytest.mark.parametrize("system", ["condor"], indirect=True)
def test_several_jobs_of_htcondor_are_one_block(provider):
    provider.nodes_per_block = 2
    good = provider.submit("true", 1)
    bad = provider.submit(f'mkdir "{provider.script_dir}/taken" || exit 5', 1)
    running = provider.submit("exec sleep 1000", 1)
    assert wait_for_state(provider, good, JobState.COMPLETED).exit_code == 0
    assert wait_for_state(provider, bad, JobState.FAILED).exit_code == 5
    wait_for_state(provider, running, JobState.RUNNING)
    assert provider.cancel([running]) == [True]
    wait_for_state(provider, running, JobState.CANCELLED)


@python_app
def twice(x):
    return 2 * x


def test_an_executor_runs_tasks_in_a_block(provider, tmp_path):
    executor = HighThroughputExecutor(
        label="htex", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, provider=provider
    )
    kernel = DataFlowKernelLoader.load(Config(executors=[executor], strategy="none", run_dir=str(tmp_path)))
    try:
        assert [future.result(timeout=60) for future in [twice(i) for i in range(20)]] == [2 * i for i in range(20)]
        executor.poll_facade()
        (status,) = executor.status().values()
        assert status.state in {JobState.PENDING, JobState.RUNNING}
    finally:
        kernel.cleanup()
        DataFlowKernelLoader.clear()
