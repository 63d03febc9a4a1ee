"""The executor as users configure it: values, the command that it makes of them, estimates before there is a node."""

from __future__ import annotations

import math

import pytest

from parsl.executors import HighThroughputExecutor
from parsl.executors.errors import ExecutorShutDownError, InvalidResourceSpecification, ScalingFailed
from parsl.executors.high_throughput.executor import HTEXFuture
from parsl.jobs.error_handlers import noop_error_handler, simple_error_handler
from parsl.providers import LocalProvider, SlurmProvider

# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", 5),
        ("provider", "local"),
        ("launch_cmd", ["python"]),
        ("max_workers_per_node", "4"),
        ("cores_per_worker", "1"),
        ("available_accelerators", 1.5),
        ("prefetch_capacity", None),
        ("heartbeat_period", "30"),
        ("worker_port_range", 54000),
        ("worker_debug", "yes"),
        ("encrypted", "yes"),
        ("block_error_handler", "simple"),
        ("manager_selector", "random"),
        ("cpu_affinity", None),
    ],
)
def test_a_wrong_type_is_told_with_the_name_of_the_parameter(name, value):
    with pytest.raises(TypeError, match=rf"HighThroughputExecutor: parameter '{name}'"):
        HighThroughputExecutor(**{name: value})


def test_what_is_given_is_kept_under_its_own_name():
    executor = HighThroughputExecutor(label="x", cpu_affinity="list:0,1:2-3", max_workers_per_node=2, drain_period=5)
    assert repr(executor).startswith("HighThroughputExecutor(")
    assert "cpu_affinity='list:0,1:2-3'" in repr(executor)
    assert executor.drain_period == 5
    assert HighThroughputExecutor().max_workers_per_node == math.inf
    assert HighThroughputExecutor(available_accelerators=2).available_accelerators == ["0", "1"]
    assert HighThroughputExecutor(available_accelerators=("a",)).available_accelerators == ["a"]
    assert type(HighThroughputExecutor().provider) is LocalProvider
    assert HighThroughputExecutor().block_error_handler is simple_error_handler
    assert HighThroughputExecutor(block_error_handler=False).block_error_handler is noop_error_handler


@pytest.mark.parametrize(("walltime", "fits"), [("00:10:00", 570), ("00:01:00", 54), ("1-00:00:00", 1e9), ("30", 1e9)])
def test_a_task_that_takes_longer_than_any_block_is_refused(walltime, fits):
    executor = HighThroughputExecutor(provider=SlurmProvider("debug", walltime=walltime))
    executor.validate_resource_spec({"walltime": fits})
    if fits < 1e9:
        with pytest.raises(InvalidResourceSpecification, match=f"declares {fits + 1} s.*of which {fits} s can be used"):
            executor.validate_resource_spec({"walltime": fits + 1})


# -- before it runs ----------------------------------------------------------------------------------------------------


def test_an_executor_that_has_not_started_has_nothing_and_takes_nothing():
    executor = HighThroughputExecutor()
    assert executor.outstanding() == 0
    assert executor.tasks == {}
    assert executor.connected_managers() == []
    assert executor.connected_managers_packages() == {}
    assert executor.connected_blocks() == []
    assert executor.connected_workers == 0
    assert executor.status() == {}
    with pytest.raises(ExecutorShutDownError):
        executor.submit(int, {})
    executor.shutdown()


def test_without_a_provider_it_cannot_be_scaled():
    executor = HighThroughputExecutor()
    executor._provider = None
    with pytest.raises(ScalingFailed):
        executor.scale_out_facade(1)
    assert executor.status_polling_interval == 0


def test_a_future_of_a_call_knows_its_number():
    assert HTEXFuture(7).parsl_executor_task_id == 7


def test_what_it_says_to_usage_tracking():
    assert HighThroughputExecutor().get_usage_information() == {"mpi": False}
