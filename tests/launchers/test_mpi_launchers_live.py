"""The launchers over mpiexec, mpirun and GNU parallel, with the programs themselves and a block of this machine."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from parsl.jobs.states import JobState
from parsl.launchers import GnuParallelLauncher, MpiExecLauncher, MpiRunLauncher
from parsl.providers import LocalProvider
from tests.cloud_services import record_proof, service
from tests.live import pilot

pytestmark = [pytest.mark.services]

SECONDS = 30


@pytest.fixture(scope="module")
def mpi():
    """The variables for MPI programs, and a folder for each kind."""
    with service("mpi") as variables:
        home = Path(os.environ.get("SVC_HOME", "/tmp/svc")) / "mpi"
        if not (home / "bin-mpich").exists():
            pytest.skip(f"no {home}")
        yield {kind: {**variables, "PATH": f"{home}/bin-{kind}:$PATH"} for kind in ("mpich", "openmpi")}


@pytest.fixture(params=["mpich", "openmpi"])
def variables(mpi, request, tmp_path, record_property):
    launcher = LAUNCHERS[request.node.callspec.params["launcher"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", mpi[request.param]["PATH"].replace("$PATH", os.environ["PATH"]))
        record_proof(record_property, "LocalProvider", launcher.__name__, request.param)
    nodes = tmp_path / "nodes"
    nodes.write_text(f"{socket.gethostname()}\n")
    return {**mpi[request.param], "PBS_NODEFILE": str(nodes)}


@pytest.fixture
def run(tmp_path):
    """Run a command as a block of so many copies, and return its last status."""
    providers = []

    def run(command, launcher, variables, copies=2):
        lines = "\n".join(f'export {name}="{value}"' for name, value in variables.items())
        provider = LocalProvider(launcher=launcher, worker_init=lines)
        provider.script_dir = str(tmp_path)
        providers.append(provider)
        job = provider.submit(command, tasks_per_node=copies)
        return pilot.wait_for(lambda: next((s for s in provider.status([job]) if s.terminal), None), SECONDS)

    yield run
    for provider in providers:
        provider.cancel(list(provider.resources))


# MPICH's mpiexec knows --bind-to as -bind-to, and both spellings.
LAUNCHERS = {"mpiexec": MpiExecLauncher, "mpirun": MpiRunLauncher}
RANK = "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_block_of_two_copies(run, variables, tmp_path, launcher):
    status = run(f"echo up > {tmp_path}/rank-{RANK}", LAUNCHERS[launcher](), variables)
    assert status.state is JobState.COMPLETED, status
    assert sorted(p.name for p in tmp_path.glob("rank-*")) == ["rank-0", "rank-1"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_exit_code_of_a_failed_rank_reaches_the_block(run, variables, launcher):
    status = run(f'[ "{RANK}" = 0 ] || exit 7', LAUNCHERS[launcher](), variables)
    assert (status.state, status.exit_code) == (JobState.FAILED, 7), status


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_an_option_that_is_none_fails_the_block_with_the_program_s_words(run, variables, launcher):
    status = run("true", LAUNCHERS[launcher](overrides="--no-such-option"), variables)
    assert status.state is JobState.FAILED
    assert "no-such-option" in Path(status.stderr_path).read_text()


# -- GNU parallel, over ssh to this machine ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ssh():
    """The variables that have `parallel` find the host `svchost` by ssh."""
    if shutil.which("parallel") is None:
        pytest.skip("no parallel")
    with service("staging") as variables:
        yield {"PARALLEL_SSH": f"ssh -F {variables['STAGING_SSH_CONFIG']}"}


@pytest.fixture
def over_ssh(ssh, tmp_path, record_property):
    record_proof(record_property, "LocalProvider", "GnuParallelLauncher", "parallel")
    nodes = tmp_path / "nodes"
    nodes.write_text("svchost\n")
    return {**ssh, "PBS_NODEFILE": str(nodes), "MINE": "a b"}


def test_gnu_parallel_carries_the_environment_over_ssh(run, over_ssh, tmp_path):
    status = run(f'echo "$MINE" > {tmp_path}/copy-$$; [ -n "$SSH_CONNECTION" ]', GnuParallelLauncher(), over_ssh)
    assert status.state is JobState.COMPLETED, Path(status.stderr_path).read_text()
    assert [p.read_text() for p in tmp_path.glob("copy-*")] == ["a b\n"] * 2


def test_a_failed_copy_of_gnu_parallel_fails_the_block(run, over_ssh, tmp_path):
    status = run(f"mkdir {tmp_path}/only-one", GnuParallelLauncher(), over_ssh)
    assert (status.state, status.exit_code) == (JobState.FAILED, 1)
