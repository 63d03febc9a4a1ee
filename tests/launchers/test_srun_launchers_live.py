"""Launchers over a real srun: where copies run, and that a failed one fails the block with its exit code."""

from __future__ import annotations

import threading

import pytest

from parsl.jobs.states import JobState
from parsl.launchers import SrunLauncher, SrunMPILauncher
from parsl.providers import SlurmProvider
from tests.cloud_services import record_proof, service

pytestmark = pytest.mark.services


def wait_for_end(provider, job_id):
    pause = threading.Event()
    for _ in range(600):
        (status,) = provider.status([job_id])
        if status.terminal:
            return status
        pause.wait(0.2)
    raise AssertionError(status)


@pytest.mark.parametrize("launcher", [SrunLauncher(), SrunMPILauncher()], ids=["srun", "srun_mpi"])
def test_srun_starts_copies_on_each_node_and_tells_the_exit_code_of_a_failed_one(launcher, tmp_path, record_property):
    with service("slurm"):
        record_proof(record_property, "SlurmProvider", type(launcher).__name__, "slurm")
        provider = SlurmProvider("debug", nodes_per_block=2, cores_per_node=2, exclusive=False, launcher=launcher)
        provider.script_dir = str(tmp_path)
        good = provider.submit('echo "on $SLURMD_NODENAME"; srun --overlap --ntasks=1 --nodes=1 hostname', 2)
        bad = provider.submit(
            'if [ "$SLURMD_NODENAME" != "$(hostname -s)" ] && [ "$SLURM_PROCID" != 1 ]; then exit 9; fi', 1
        )
        status = wait_for_end(provider, good)
        assert status.state is JobState.COMPLETED, status.stderr
        words = [line.partition("on ")[2] for line in status.stdout.splitlines() if "on node" in line]
        assert len(words) == 4
        assert len(set(words)) == 2
        status = wait_for_end(provider, bad)
        assert (status.state, status.exit_code) == (JobState.FAILED, 9), status.stderr
