"""Launchers over real starters: where copies run, and that a failed one fails the block with its exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading

import pytest

from parsl.jobs.states import JobState
from parsl.launchers import GnuParallelLauncher, MpiExecLauncher, MpiRunLauncher, SrunLauncher, SrunMPILauncher
from parsl.providers import SlurmProvider
from tests.cloud_services import record_proof, service

pytestmark = pytest.mark.services


@pytest.fixture(scope="module", params=["openmpi", "mpich"])
def mpi(request):
    """Give the name of an MPI, whose mpiexec and mpirun are the first on PATH."""
    with service("mpi") as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        folder = os.path.join(os.environ.get("SVC_HOME") or "/tmp/svc", "mpi", f"bin-{request.param}")
        patch.setenv("PATH", folder, prepend=":")
        yield request.param


@pytest.mark.parametrize("launcher", [MpiExecLauncher(), MpiRunLauncher()], ids=["mpiexec", "mpirun"])
def test_mpi_starts_all_copies_and_tells_the_exit_code_of_a_failed_one(mpi, launcher, tmp_path, record_property):
    record_proof(record_property, "-", type(launcher).__name__, mpi)

    def run(command):
        script = launcher(command, 2, 1)
        return subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    ended = run('echo "rank <${OMPI_COMM_WORLD_RANK:-$PMI_RANK}>"')
    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.split("\n")) == ["", "rank <0>", "rank <1>"]
    ended = run('if [ "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}" = 1 ]; then exit 7; fi')
    assert ended.returncode == 7, ended.stderr


def test_gnu_parallel_starts_copies_over_ssh_and_fails_with_them(tmp_path, monkeypatch, record_property):
    if shutil.which("parallel") is None:
        pytest.skip("no GNU parallel")
    with service("staging") as variables:
        record_proof(record_property, "-", "GnuParallelLauncher", "parallel")
        nodes = tmp_path / "nodes"
        nodes.write_text(f"{variables['STAGING_SSH_HOST']}\n" * 2)
        monkeypatch.setenv("PBS_NODEFILE", str(nodes))
        monkeypatch.setenv("PARALLEL_SSH", f"ssh -F {variables['STAGING_SSH_CONFIG']}")
        monkeypatch.setenv("CARRIED", "here and there")

        def run(command):
            script = GnuParallelLauncher()(command, 2, 1)
            return subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

        ended = run('echo "$CARRIED in $PWD by ${SSH_CONNECTION%% *}"')
        assert ended.returncode == 0, ended.stderr
        line = f"here and there in {tmp_path} by 127.0.0.1"
        assert sorted(ended.stdout.splitlines()) == [f"1\t{line}", f"2\t{line}"]
        assert run("exit 7").returncode != 0


def wait_for_end(provider, job_id):
    pause = threading.Event()
    for _ in range(200):
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
