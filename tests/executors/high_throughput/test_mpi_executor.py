"""The executor of MPI programs as users configure it."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

import parsl
from parsl.executors import HighThroughputExecutor, MPIExecutor
from parsl.executors.errors import InvalidResourceSpecification, MissingResourceSpecification
from parsl.executors.high_throughput.process_worker_pool import parse_arguments
from parsl.launchers import SimpleLauncher, SingleNodeLauncher, SrunLauncher
from parsl.providers import LocalProvider, SlurmProvider
from tests.live import pilot

# What tells how a node is divided among workers, or orders managers, has no meaning for MPI tasks.
LEFT_OUT = {
    "available_accelerators",
    "cores_per_worker",
    "cpu_affinity",
    "manager_selector",
    "max_workers_per_node",
    "mem_per_worker",
}
OWN = {"max_workers_per_block", "mpi_launcher"}


def block(nodes=1, **options):
    return LocalProvider(nodes_per_block=nodes, launcher=SimpleLauncher(), **options)


def parameters(cls):
    return {p.name: p for p in inspect.signature(cls.__init__).parameters.values()}


def test_it_takes_what_its_parent_takes_but_for_the_division_of_nodes():
    parent, own = parameters(HighThroughputExecutor), parameters(MPIExecutor)
    assert own.keys() - parent.keys() == OWN
    assert parent.keys() - own.keys() == LEFT_OUT
    for name in own.keys() & parent.keys() - {"label", "self"}:
        assert own[name].default == parent[name].default, name


def test_its_docstring_tells_of_each_parameter_and_of_no_other():
    # Python 3.13 takes the common indentation away.
    text = inspect.cleandoc(MPIExecutor.__doc__)
    for name in parameters(MPIExecutor).keys() - {"self"}:
        assert f"\n    {name}: " in text
    for name in LEFT_OUT:
        assert name not in MPIExecutor.__doc__


def test_it_is_found_where_users_look():
    from parsl.executors.high_throughput.mpi_executor import MPIExecutor as Own

    assert parsl.MPIExecutor is MPIExecutor is Own
    assert issubclass(Own, HighThroughputExecutor)


def test_what_is_given_is_kept():
    executor = MPIExecutor(label="x", provider=block(4), max_workers_per_block=3, mpi_launcher="srun")
    assert (executor.enable_mpi_mode, executor.mpi_launcher, executor.max_workers_per_block) == (True, "srun", 3)
    assert repr(executor).startswith("MPIExecutor(")
    assert "max_workers_per_block=3" in repr(executor)
    assert executor.get_usage_information() == {"mpi": True}
    assert isinstance(MPIExecutor().provider.launcher, SimpleLauncher)
    assert HighThroughputExecutor().get_usage_information() == {"mpi": False}


@pytest.mark.parametrize("launcher", [SingleNodeLauncher(), SrunLauncher(), lambda command, tasks, nodes: command])
def test_the_manager_must_be_alone_in_its_block(launcher):
    with pytest.raises(TypeError, match="must be a SimpleLauncher"):
        MPIExecutor(provider=LocalProvider(launcher=launcher))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"mpi_launcher": "bad_launcher"}, ValueError, "'mpi_launcher' must be one of .*'bad_launcher'"),
        ({"mpi_launcher": ""}, ValueError, "mpi_launcher"),
        ({"max_workers_per_block": 0}, ValueError, "'max_workers_per_block' must be at least 1, but got 0"),
        ({"max_workers_per_block": 1.5}, TypeError, "max_workers_per_block"),
        ({"prefetch_capacity": -1}, ValueError, "prefetch_capacity"),
        ({"provider": "local"}, TypeError, "provider"),
    ],
)
def test_what_is_out_of_range_is_told(options, error, text):
    with pytest.raises(error, match=text):
        MPIExecutor(**options)


@pytest.mark.parametrize(("most", "nodes"), [(1, 1), (3, 7), (1, 49), (2, 3), (64, 64), (100, 9)])
def test_a_block_counts_for_as_many_tasks_as_it_may_run(most, nodes):
    executor = MPIExecutor(provider=block(nodes), max_workers_per_block=most)
    assert int(executor.workers_per_node * nodes) == most


# -- specifications ----------------------------------------------------------------------------------------------------


def test_a_specification_is_looked_at_before_anything_is_sent():
    executor = MPIExecutor(provider=block())
    executor.validate_resource_spec({"num_nodes": 2, "ranks_per_node": 4, "priority": 2})
    for nothing in ({}, None, {"priority": 1}):
        with pytest.raises(MissingResourceSpecification):
            executor.validate_resource_spec(nothing)
    for wrong in ({"num_nodes": 1}, {"num_nodes": 2, "num_ranks": 3}, {"num_nodes": 1, "num_ranks": 1, "gpus": 2}):
        with pytest.raises(InvalidResourceSpecification):
            executor.validate_resource_spec(wrong)
    for priority in ("high", None, float("nan")):
        with pytest.raises(InvalidResourceSpecification, match="priority"):
            executor.validate_resource_spec({"num_nodes": 1, "num_ranks": 1, "priority": priority})


def test_what_no_block_of_the_batch_system_can_hold_does_not_wait_for_one():
    provider = SlurmProvider(nodes_per_block=4, launcher=SimpleLauncher())
    executor = MPIExecutor(provider=provider)
    executor.validate_resource_spec({"num_nodes": 4, "ranks_per_node": 1})
    with pytest.raises(
        InvalidResourceSpecification, match=r"needs 5 nodes, more than the block has \(nodes_per_block=4"
    ):
        executor.validate_resource_spec({"num_nodes": 5, "ranks_per_node": 1})
    # Of a block on this machine only its manager knows.
    MPIExecutor(provider=block(1)).validate_resource_spec({"num_nodes": 5, "ranks_per_node": 1})


def test_a_call_without_a_specification_fails_in_its_future(tmp_path):
    with pilot.kernel(tmp_path, MPIExecutor(label="mpi", provider=block(init_blocks=0))) as kernel:
        assert isinstance(kernel.submit(int, ()).exception(pilot.SOON), MissingResourceSpecification)


# -- the manager's command ---------------------------------------------------------------------------------------------


def test_the_manager_is_told_that_tasks_are_mpi_programs(tmp_path):
    executor = MPIExecutor(
        label="mpi", address="127.0.0.1", provider=block(4, init_blocks=0), max_workers_per_block=2, mpi_launcher="srun"
    )
    executor.run_dir = str(tmp_path)
    executor.start()
    try:
        words = shlex.split(executor._get_launch_command("0"))
    finally:
        executor.shutdown()
    options = parse_arguments(words[words.index("parsl.executors.high_throughput.process_worker_pool") + 1 :])
    assert (options.enable_mpi_mode, options.mpi_launcher, options.max_workers_per_node) == (True, "srun", 2)
    assert options.available_accelerators == []


def test_the_parent_in_mpi_mode_does_the_same():
    executor = HighThroughputExecutor()
    executor.enable_mpi_mode = True
    with pytest.raises(MissingResourceSpecification):
        executor.validate_resource_spec({})
    executor.validate_resource_spec({"num_nodes": 2, "ranks_per_node": 4})


# -- the page about it -------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "run-mpi-programs.md"
FRAGMENTS = re.findall(r"^```\{code-block\} python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", FRAGMENTS, ids=["Slurm", "PBS Pro", "Python app"])
def test_what_the_page_shows_can_be_written_so(code):
    made = {}
    exec(code, made)
    if "config" in made:
        (executor,) = made["config"].executors
        assert isinstance(executor, MPIExecutor)
        assert int(executor.workers_per_node * executor.provider.nodes_per_block) == executor.max_workers_per_block
