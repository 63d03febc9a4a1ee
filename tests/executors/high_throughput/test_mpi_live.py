"""MPI programs in blocks: with both kinds of mpiexec on this machine, and with srun on a real Slurm."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from parsl.app.app import bash_app, python_app
from parsl.app.errors import AppTimeout, BashExitFailure
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.executors import MPIExecutor
from parsl.executors.errors import InvalidResourceSpecification, MissingResourceSpecification
from parsl.launchers import SimpleLauncher
from parsl.providers import LocalProvider, SlurmProvider
from tests.cloud_services import service
from tests.live import pilot

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
SECONDS = 60

# Each rank says who it is, after all have met.
PROGRAM = """\
import os
from mpi4py import MPI
world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
node = os.environ.get("SLURMD_NODENAME", "here")
for line in world.gather(f"rank {world.rank} of {world.size} on {node}, sum {total}") or ():
    print(line, flush=True)
"""


@pytest.fixture(scope="module")
def mpi():
    """The folder of the MPI installations, with an environment for their programs."""
    with service("mpi") as variables:
        home = Path(os.environ.get("SVC_HOME", "/tmp/svc")) / "mpi"
        if not (home / "venv").exists():
            pytest.skip(f"no {home}")
        yield home, variables


@pytest.fixture
def program(mpi, tmp_path):
    path = tmp_path / "ranks.py"
    path.write_text(PROGRAM)
    return f"{mpi[0]}/venv/bin/python {path}"


@pytest.fixture
def load(tmp_path):
    def start(provider, **options):
        executor = MPIExecutor(label="mpi", address="127.0.0.1", provider=provider, **options)
        DataFlowKernelLoader.load(
            Config(executors=[executor], strategy="none", system_retries=0, run_dir=str(tmp_path / "runs"))
        )
        return executor

    yield start
    if DataFlowKernelLoader._dfk is not None:
        DataFlowKernelLoader.dfk().cleanup()
    DataFlowKernelLoader.clear()


@bash_app
def run_program(program, stdout=None, stderr=None, walltime=None, parsl_resource_specification=None):
    return f"$PARSL_MPI_PREFIX {program}"


@bash_app
def say(names, stdout=None, parsl_resource_specification=None):
    return "\n".join(f"echo {name}=${{{name}-unset}}" for name in names)


@python_app
def meet(first, second, begins, parsl_resource_specification=None):
    """Tell another task, which must run at the same time, the nodes of this one; return its and theirs."""
    mine = os.environ["PARSL_MPI_NODELIST"]

    def tell(path):
        with open(path, "w") as file:
            file.write(mine)

    def hear(path):
        with open(path) as file:
            return file.read()

    if begins:
        tell(first)
        return mine, hear(second)
    theirs = hear(first)
    tell(second)
    return mine, theirs


def kill_busy_worker(executor):
    (worker,) = [w for w in pilot.workers_of(executor) if w.children()]
    worker.kill()


def meet_twice(folder, **specification):
    first, second = str(folder / "first"), str(folder / "second")
    os.mkfifo(first)
    os.mkfifo(second)
    both = [meet(first, second, begins, parsl_resource_specification=specification) for begins in (True, False)]
    return [f.result(timeout=SECONDS) for f in both]


# -- mpiexec, on this machine ------------------------------------------------------------------------------------------


def local_provider(mpi, tmp_path, flavour):
    """A block of two nodes, which both are this machine."""
    home, variables = mpi
    nodes = tmp_path / "nodes"
    nodes.write_text(f"{socket.gethostname()}\nlocalhost\n")
    if flavour == "mpich":
        variables = {"MPI4PY_MPIABI": "mpich", "LD_LIBRARY_PATH": f"{home}/mpich"}
    lines = [f"export {name}={value}" for name, value in variables.items()]
    lines += [f"export PATH={home}/bin-{flavour}:$PATH", f"export PBS_NODEFILE={nodes}"]
    return LocalProvider(nodes_per_block=2, launcher=SimpleLauncher(), worker_init="\n".join(lines))


@pytest.fixture(params=["mpich", "openmpi"])
def flavour(request):
    return request.param


def test_a_program_on_two_nodes(mpi, tmp_path, load, program, flavour):
    load(local_provider(mpi, tmp_path, flavour))
    out, err = str(tmp_path / "out"), str(tmp_path / "err")
    future = run_program(
        program, stdout=out, stderr=err, parsl_resource_specification={"num_nodes": 2, "ranks_per_node": 2}
    )
    assert future.exception(timeout=SECONDS) is None, Path(err).read_text()
    assert Path(out).read_text().splitlines() == [f"rank {n} of 4 on here, sum 10" for n in range(4)]


def test_a_python_app_starts_ranks_and_leaves_no_variables_behind(mpi, tmp_path, load, program, flavour):
    load(local_provider(mpi, tmp_path, flavour))

    @python_app
    def run(program, parsl_resource_specification=None):
        import os
        import subprocess

        command = f"{os.environ['PARSL_MPI_PREFIX']} {program}"
        return subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout.splitlines()

    one = {"num_nodes": 1, "num_ranks": 2}
    assert run(program, parsl_resource_specification=one).result(timeout=SECONDS) == [
        f"rank {n} of 2 on here, sum 3" for n in range(2)
    ]
    names = ["PARSL_NUM_NODES", "PARSL_NUM_RANKS", "PARSL_RANKS_PER_NODE", "PARSL_MPI_NODELIST", "PARSL_MPI_PREFIX"]
    two = {"num_nodes": 2, "num_ranks": 6, "launcher_options": "-v"}
    out = tmp_path / "said"
    say(names, stdout=str(out), parsl_resource_specification=two).result(timeout=SECONDS)
    said = dict(line.split("=", 1) for line in out.read_text().splitlines())
    prefix = said.pop("PARSL_MPI_PREFIX")
    assert prefix.startswith("mpiexec -n 6 ")
    assert prefix.endswith(" -v")
    assert ("-ppn 3 -hosts" in prefix) == (flavour == "mpich")
    assert said == {
        "PARSL_NUM_NODES": "2",
        "PARSL_NUM_RANKS": "6",
        "PARSL_RANKS_PER_NODE": "3",
        "PARSL_MPI_NODELIST": f"{socket.gethostname()},localhost",
    }


def test_two_small_tasks_run_at_once_on_nodes_of_their_own(mpi, tmp_path, load):
    load(local_provider(mpi, tmp_path, "mpich"), max_workers_per_block=2)
    (mine, theirs), (mine_2, theirs_2) = meet_twice(tmp_path, num_nodes=1, ranks_per_node=1)
    assert (mine, theirs) == (theirs_2, mine_2)
    assert {mine, theirs} == {socket.gethostname(), "localhost"}


def test_what_a_task_must_not_ask_for_fails_it_alone(mpi, tmp_path, load, program, flavour):
    load(local_provider(mpi, tmp_path, flavour))
    three = {"num_nodes": 3, "ranks_per_node": 1}
    error = run_program(program, parsl_resource_specification=three).exception(timeout=SECONDS)
    assert isinstance(error, InvalidResourceSpecification)
    assert "needs 3 nodes, more than the block has (2: " in str(error)
    for specification in ({}, None):
        error = run_program(program, parsl_resource_specification=specification).exception(timeout=SECONDS)
        assert isinstance(error, MissingResourceSpecification)
    error = run_program(program, parsl_resource_specification={"nodes": 1}).exception(timeout=SECONDS)
    assert isinstance(error, InvalidResourceSpecification)
    one = {"num_nodes": 1, "ranks_per_node": 1}
    error = run_program("false", parsl_resource_specification=one).exception(timeout=SECONDS)
    assert isinstance(error, BashExitFailure)
    assert error.exitcode == 1
    assert run_program(program, parsl_resource_specification=one).result(timeout=SECONDS) == 0


def test_ranks_end_with_their_task_and_its_nodes_are_free_again(mpi, tmp_path, load, program, flavour):
    load(local_provider(mpi, tmp_path, flavour))
    pids = tmp_path / "pids"
    script = tmp_path / "wait.sh"
    script.write_text(f"echo $$ >> {pids}\nexec sleep 600\n")
    both = {"num_nodes": 2, "ranks_per_node": 1}
    error = run_program(f"bash {script}", walltime=6, parsl_resource_specification=both).exception(timeout=SECONDS)
    assert isinstance(error, AppTimeout)
    assert len(pids.read_text().split()) == 2
    assert run_program(program, parsl_resource_specification=both).result(timeout=SECONDS) == 0
    for pid in pids.read_text().split():
        pilot.wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))


def test_a_lost_worker_gives_its_nodes_back(mpi, tmp_path, load, program):
    executor = load(local_provider(mpi, tmp_path, "mpich"))
    both = {"num_nodes": 2, "ranks_per_node": 1}
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    future = run_program(f"bash -c 'echo up > {fifo}; exec sleep 600'", parsl_resource_specification=both)
    with open(fifo) as file:
        assert "up" in file.read()
    kill_busy_worker(executor)
    assert "loss of worker" in str(future.exception(timeout=SECONDS))
    assert run_program(program, parsl_resource_specification=both).result(timeout=SECONDS) == 0


def test_a_block_that_knows_no_nodes_says_so(tmp_path, load):
    load(LocalProvider(launcher=SimpleLauncher(), worker_init="unset PBS_NODEFILE SLURM_JOB_NODELIST"))
    error = run_program("true", parsl_resource_specification={"num_nodes": 1, "num_ranks": 1}).exception(SECONDS)
    assert "the nodes of this block are not known" in str(error)
    assert "set PBS_NODEFILE" in str(error)


# -- srun, on a real Slurm ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slurm():
    with service("slurm"):
        if shutil.which("srun") is None:
            pytest.skip("no srun")
        yield


@pytest.fixture
def slurm_block(slurm, load):
    """An executor on a block of two nodes; afterwards Slurm has nothing of ours."""
    provider = SlurmProvider(
        partition="debug",
        nodes_per_block=2,
        walltime="00:05:00",
        init_blocks=1,
        max_blocks=1,
        launcher=SimpleLauncher(),
        worker_init=f"export PYTHONPATH={ROOT / 'src'}",
    )
    yield load(provider, mpi_launcher="srun", max_workers_per_block=2)
    DataFlowKernelLoader.dfk().cleanup()
    jobs = set(provider.resources)
    listed = ["squeue", "--noheader", "--format=%i"]
    pilot.wait_for(
        lambda: not jobs & {*subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()}, 40
    )


NODES = "bash -c 'echo $SLURM_PROCID of $SLURM_NTASKS $SLURMD_NODENAME'"


def test_srun_on_two_nodes(slurm_block, tmp_path):
    out, err = str(tmp_path / "out"), str(tmp_path / "err")
    two = {"num_nodes": 2, "ranks_per_node": 2}
    future = run_program(NODES, stdout=out, stderr=err, parsl_resource_specification=two)
    assert future.exception(timeout=SECONDS) is None, Path(err).read_text()
    rows = sorted(line.split() for line in Path(out).read_text().splitlines())
    assert [row[:3] for row in rows] == [[str(n), "of", "4"] for n in range(4)]
    first, second = rows[0][3], rows[3][3]
    assert [row[3] for row in rows] == [first, first, second, second]
    assert first != second


def test_srun_runs_two_small_tasks_at_once_on_nodes_of_their_own(slurm_block, tmp_path):
    (mine, theirs), _ = meet_twice(tmp_path, num_nodes=1, ranks_per_node=1)
    assert mine != theirs
    one = {"num_nodes": 1, "ranks_per_node": 2}
    outs = [str(tmp_path / f"out-{n}") for n in range(2)]
    fifos = [tmp_path / f"fifo-{n}" for n in range(2)]
    for fifo in fifos:
        os.mkfifo(fifo)
    # The ranks of each wait for those of the other: opening a pipe waits for its other end.
    script = tmp_path / "meet.sh"
    script.write_text(
        "echo $SLURMD_NODENAME\n[ $SLURM_PROCID = 0 ] || exit 0\n"
        "if [ $1 = 0 ]; then echo > $2; read < $3; else read < $2; echo > $3; fi\n"
    )
    futures = [
        run_program(f"bash {script} {n} {fifos[0]} {fifos[1]}", stdout=out, parsl_resource_specification=one)
        for n, out in enumerate(outs)
    ]
    assert [f.result(timeout=SECONDS) for f in futures] == [0, 0]
    nodes = [Path(out).read_text().split() for out in outs]
    assert [len(set(names)) for names in nodes] == [1, 1]
    assert nodes[0][0] != nodes[1][0]


def test_a_failed_rank_and_a_timeout_under_srun(slurm_block, tmp_path):
    both = {"num_nodes": 2, "ranks_per_node": 1}
    error = run_program("bash -c 'exit $((SLURM_PROCID * 7))'", parsl_resource_specification=both).exception(SECONDS)
    assert isinstance(error, BashExitFailure)
    assert error.exitcode == 7
    error = run_program("sleep 600", walltime=6, parsl_resource_specification=both).exception(timeout=SECONDS)
    assert isinstance(error, AppTimeout)
    out = str(tmp_path / "out")
    run_program(NODES, stdout=out, parsl_resource_specification=both).result(timeout=SECONDS)
    assert len(Path(out).read_text().splitlines()) == 2


def test_a_lost_worker_gives_its_nodes_back_to_srun(slurm_block, tmp_path):
    both = {"num_nodes": 2, "ranks_per_node": 1}
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    ranks = f"bash -c '[ $SLURM_PROCID = 0 ] && echo up > {fifo}; exec sleep 600'"
    future = run_program(ranks, parsl_resource_specification=both)
    with open(fifo) as file:
        assert "up" in file.read()
    kill_busy_worker(slurm_block)
    assert "loss of worker" in str(future.exception(timeout=SECONDS))
    out = str(tmp_path / "out")
    run_program(NODES, stdout=out, parsl_resource_specification=both).result(timeout=SECONDS)
    assert len(Path(out).read_text().splitlines()) == 2


def test_an_mpi_program_of_ranks_on_two_slurm_nodes(mpi, slurm_block, tmp_path, program):
    """Slurm's nodes are one host here; srun speaks PMI2 with the ranks of MPICH."""
    out, err = str(tmp_path / "out"), str(tmp_path / "err")
    two = {"num_nodes": 2, "ranks_per_node": 1, "launcher_options": "--mpi=pmi2"}
    home, _ = mpi
    ranks = f"env MPI4PY_MPIABI=mpich LD_LIBRARY_PATH={home}/mpich {program}"
    future = run_program(ranks, stdout=out, stderr=err, parsl_resource_specification=two)
    assert future.exception(timeout=SECONDS) is None, Path(err).read_text()
    lines = Path(out).read_text().splitlines()
    assert [line.split(" on ")[0] for line in lines] == ["rank 0 of 2", "rank 1 of 2"]
    assert len({line.split(" on ")[1] for line in lines}) == 2
