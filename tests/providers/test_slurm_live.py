"""Executors on a real Slurm: several nodes, arrays, and everything that goes wrong on a cluster."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.executors import HighThroughputExecutor
from parsl.executors.errors import InvalidResourceSpecification
from parsl.jobs.states import JobState
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider
from parsl.providers.errors import SubmitException
from tests.cloud_services import record_proof, service
from tests.leaks import MARK_VARIABLE

pytestmark = [pytest.mark.services, pytest.mark.slow]

SOURCE = Path(__file__).parent.parent.parent / "src"


@pytest.fixture(scope="module")
def slurm():
    with service("slurm"):
        yield


@pytest.fixture(autouse=True)
def proof(slurm, request, record_property):
    launcher = "SrunLauncher" if "two_nodes" in request.node.name else "SingleNodeLauncher"
    record_proof(record_property, "SlurmProvider", launcher, "slurm")


@pytest.fixture(autouse=True)
def nothing_is_left(slurm, tmp_path):
    """See to it that Slurm has no job of which the script is in the test's folder."""
    yield
    wait_until(lambda: str(tmp_path) not in run("squeue --noheader --states=pending,running --format=%o"))


def run(command):
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


def wait_until(condition, seconds=40):
    """Return when `condition` is true; Slurm announces nothing to us."""
    pause = threading.Event()
    for _ in range(seconds * 5):
        if condition():
            return
        pause.wait(0.2)
    pytest.fail(f"not within {seconds} s")


def make(**options):
    options = {"partition": "debug", "walltime": "00:05:00", "init_blocks": 1, "max_blocks": 1, **options}
    return SlurmProvider(worker_init=f"export PYTHONPATH={SOURCE}", **options)


@pytest.fixture(scope="module", autouse=True)
def overtime(slurm, tmp_path_factory):
    """Start a block that lasts longer than its minute; Slurm looks twice a minute, so the last test asks for it."""
    provider = make(walltime="00:01:00", exclusive=False)
    provider.script_dir = str(tmp_path_factory.mktemp("overtime"))
    with pytest.MonkeyPatch.context() as patch:
        # Slurm starts it during a test, of which it is no process.
        patch.delenv(MARK_VARIABLE)
        job_id = provider.submit("exec sleep 1000", 1)
    yield provider, job_id
    provider.cancel([job_id])


@pytest.fixture
def load(tmp_path):
    """Load a kernel with an executor on a provider."""

    def start(provider, **options):
        executor = HighThroughputExecutor(
            label="htex", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, provider=provider
        )
        settings = {"strategy": "none", "run_dir": str(tmp_path), **options}
        DataFlowKernelLoader.load(Config(executors=[executor], **settings))
        return executor

    yield start
    DataFlowKernelLoader.dfk().cleanup()
    DataFlowKernelLoader.clear()


@python_app
def where(seconds=0):
    import os
    import time

    time.sleep(seconds)
    return os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"]


def states_of(executor):
    executor.poll_facade()
    return [status.state for status in executor.status().values()]


def test_the_first_result_comes_soon_after_the_node_is_allocated(load):
    executor = load(make())
    job_id, node = where().result(timeout=60)
    now = time.time()
    assert job_id in executor.provider.resources
    assert node.startswith("node")
    started = run(f"scontrol --oneliner show job {job_id}").partition(" StartTime=")[2].split()[0]
    # Slurm tells whole seconds.
    assert now - time.mktime(time.strptime(started, "%Y-%m-%dT%H:%M:%S")) < 1.5 + 1


def test_one_block_of_two_nodes(load):
    load(make(nodes_per_block=2, launcher=SrunLauncher()))
    nodes = set()
    wait_until(lambda: nodes.update(f.result(timeout=60)[1] for f in [where(0.1) for _ in range(8)]) or len(nodes) == 2)


def test_many_blocks_are_one_array(load):
    executor = load(make(init_blocks=3, max_blocks=3))
    assert {job_id.partition("_")[2] for job_id in executor.provider.resources} == {"0", "1", "2"}
    nodes = set()
    wait_until(
        lambda: nodes.update(f.result(timeout=60)[1] for f in [where(0.1) for _ in range(16)]) or len(nodes) == 3
    )
    ended = executor.cancel_blocks(["2"])
    assert ended == ["2"]
    job_id = executor.blocks_to_job_id["2"]
    wait_until(lambda: executor.provider.status([job_id])[0].state is JobState.CANCELLED)
    assert where().result(timeout=60)


def test_thirty_blocks_at_once(load):
    provider = make(init_blocks=30, max_blocks=30, exclusive=False)
    executor = load(provider)
    assert len({job_id.partition("_")[0] for job_id in provider.resources}) == 1
    assert [f.result(timeout=120)[0] for f in [where() for _ in range(60)]]
    wait_until(lambda: JobState.RUNNING in states_of(executor))
    assert len(states_of(executor)) == 30


def test_a_block_that_somebody_cancels_is_cancelled(load):
    executor = load(make())
    job_id, _ = where().result(timeout=60)
    run(f"scancel {job_id}")
    wait_until(lambda: states_of(executor) == [JobState.CANCELLED])


def test_a_node_that_goes_down_fails_its_block_and_no_other(load):
    # Unless told otherwise Slurm puts such a job into the queue again, see the next test.
    executor = load(make(init_blocks=2, max_blocks=2, scheduler_options="#SBATCH --no-requeue"))
    nodes = {}
    wait_until(
        lambda: nodes.update({n: j for j, n in [where(0.1).result(timeout=60) for _ in range(4)]}) or len(nodes) == 2
    )
    down = min(nodes)
    try:
        run(f"scontrol update nodename={down} state=down reason=test")
        wait_until(lambda: sorted(states_of(executor)) == [JobState.RUNNING, JobState.FAILED])
        (failed,) = [s for s in executor.status().values() if s.state is JobState.FAILED]
        assert "NODE_FAIL" in failed.message
        assert where().result(timeout=60)[1] in set(nodes) - {down}
    finally:
        bring_back(down)


def bring_back(node):
    # Refused if the node has come back by itself.
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], capture_output=True, check=False)
    wait_until(lambda: run(f"sinfo --noheader --nodes={node} --format=%T").split()[0] in {"idle", "mixed", "allocated"})


def test_a_block_that_slurm_requeues_waits_again(load):
    executor = load(make())
    job_id, node = where().result(timeout=60)
    try:
        run(f"scontrol update nodename={node} state=down reason=test")
        wait_until(lambda: states_of(executor) == [JobState.PENDING])
        assert executor.provider.cancel([job_id]) == [True]
        wait_until(lambda: states_of(executor) == [JobState.CANCELLED])
    finally:
        bring_back(node)


def test_a_partition_that_does_not_exist_fails_the_tasks_with_slurms_words(load):
    load(make(partition="nosuch"))
    future = where()
    with pytest.raises(Exception, match="invalid partition specified: nosuch"):
        future.result(timeout=60)


def test_a_worker_init_that_fails_is_told_with_its_last_words(load):
    provider = make()
    provider.worker_init = "echo no such module: pythom >&2; exit 3"
    load(provider)
    with pytest.raises(Exception, match="pythom"):
        where().result(timeout=60)


@python_app
def end_of_block(walltime=None):
    import os
    import time

    return float(os.environ.get("SLURM_JOB_END_TIME") or os.environ["PARSL_BLOCK_ENDS"]) - time.time()


def test_a_manager_knows_the_end_of_its_job_and_drains_before_it(load):
    """Of a minute, six seconds are left at the end: no call is begun then, and the job ends well, not by time-out."""
    executor = load(make(walltime="00:01:00"))
    assert 50 < end_of_block(walltime=30).result(timeout=60) <= 60
    error = end_of_block(walltime=55).exception(timeout=10)
    assert isinstance(error, InvalidResourceSpecification)
    assert "declares 55 s" in str(error)
    assert "last 60 s" in str(error)
    # More than is left by now, though the block began with more: it waits for another block.
    waiting = end_of_block(walltime=53.9)
    wait_until(lambda: not executor.connected_managers(), 70)
    wait_until(lambda: states_of(executor) == [JobState.COMPLETED])
    assert not waiting.done()
    assert waiting.cancel()


def test_no_task_is_lost_while_blocks_are_cancelled_at_random(load):
    executor = load(
        make(init_blocks=1, min_blocks=0, max_blocks=4, parallelism=1.0, exclusive=False),
        strategy="simple",
        strategy_period=0.5,
        retries=50,
    )
    executor.block_error_handler = lambda executor, status: None
    futures = [where(0.05) for _ in range(500)]
    choose, done = random.Random(7), threading.Event()

    def cancel_some():
        while not done.wait(3):
            jobs = run("squeue --noheader --states=running --array --format=%i").split()
            ours = [job_id for job_id in jobs if job_id in executor.provider.resources]
            if ours:
                run(f"scancel {choose.choice(ours)}")

    thread = threading.Thread(target=cancel_some)
    thread.start()
    try:
        assert len([future.result(timeout=180) for future in futures]) == 500
    finally:
        done.set()
        thread.join()
    assert sum(not status.terminal for status in executor.status().values()) <= 4


def test_without_accounts(tmp_path, monkeypatch):
    """A cluster without accounting says so to sacct; here sacct alone says it."""
    (tmp_path / "sacct").write_text("#!/bin/sh\necho Slurm accounting storage is disabled >&2\nexit 1\n")
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    provider = make()
    provider.script_dir = str(tmp_path)
    good, bad = provider.submit("true", 1), provider.submit("exit 6", 1)
    wait_until(lambda: all(status.terminal for status in provider.status([good, bad])))
    assert [(s.state.name, s.exit_code) for s in provider.status([good, bad])] == [("COMPLETED", 0), ("FAILED", 6)]


def test_a_controller_that_cannot_be_reached_changes_nothing(load, tmp_path, monkeypatch):
    executor = load(make())
    job_id, _ = where().result(timeout=60)
    provider = executor.provider
    wait_until(lambda: states_of(executor) == [JobState.RUNNING])
    now = [0.0]
    provider.clock = lambda: now[0]
    text = Path("/etc/slurm/slurm.conf").read_text()
    (tmp_path / "slurm.conf").write_text(text.replace("SlurmctldPort=16817", "SlurmctldPort=16999\nMessageTimeout=2"))
    with monkeypatch.context() as patch:
        patch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
        for _ in range(3):
            now[0] += 400
            (status,) = provider.status([job_id])
            assert status.state is JobState.RUNNING
        assert "Unable to contact slurm controller" in status.message
        assert provider.cancel([job_id]) == [False]
    now[0] += 400
    (status,) = provider.status([job_id])
    assert (status.state, status.message) == (JobState.RUNNING, None)
    assert where().result(timeout=60)[0] == job_id


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"constraint": "nosuch"}, "Invalid feature specification"),
        ({"gres": "nosuch:1"}, "Invalid generic resource"),
    ],
)
def test_what_slurm_cannot_give_is_refused_with_its_words(options, words, tmp_path):
    provider = make(**options)
    provider.script_dir = str(tmp_path)
    with pytest.raises(SubmitException, match=words) as caught:
        provider.submit("true", 1)
    assert caught.value.retcode == 1
    assert provider.resources == {}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"nodes_per_block": 100, "launcher": SrunLauncher()}, "PartitionConfig"),
        ({"partition": "short", "walltime": "10:00:00"}, "PartitionTimeLimit"),
    ],
)
def test_a_block_that_waits_for_ever_tells_why(options, reason, tmp_path):
    provider = make(**options)
    provider.script_dir = str(tmp_path)
    job_id = provider.submit("true", 1)
    wait_until(lambda: reason in (provider.status([job_id])[0].message or ""))
    assert provider.status([job_id])[0].state is JobState.PENDING
    assert provider.cancel([job_id]) == [True]
    wait_until(lambda: provider.status([job_id])[0].state is JobState.CANCELLED)
    assert run(f"squeue --noheader --jobs={job_id} --states=pending,running --format=%i") == ""


def test_a_cluster_that_is_named(tmp_path):
    provider = make(clusters="testcluster", exclusive=False)
    provider.script_dir = str(tmp_path)
    good, bad = provider.submit("true", 1), provider.submit("exit 6", 1)
    running = provider.submit_many(["exec sleep 1000"] * 2, 1)
    wait_until(lambda: all(status.terminal for status in provider.status([good, bad])))
    assert [(s.state.name, s.exit_code) for s in provider.status([good, bad])] == [("COMPLETED", 0), ("FAILED", 6)]
    assert provider.cancel(running) == [True, True]
    wait_until(lambda: [s.state for s in provider.status(running)] == [JobState.CANCELLED] * 2)


def test_a_cluster_that_does_not_exist(tmp_path):
    provider = make(clusters="nosuch")
    provider.script_dir = str(tmp_path)
    with pytest.raises(SubmitException, match="nosuch"):
        provider.submit("true", 1)


def test_a_walltime_that_is_over_is_a_timeout(overtime):
    provider, job_id = overtime
    wait_until(lambda: provider.status([job_id])[0].terminal, 150)
    assert provider.status([job_id])[0].state is JobState.TIMEOUT
