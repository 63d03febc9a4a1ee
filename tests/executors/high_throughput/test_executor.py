"""The executor as users configure it: values, the command that it makes of them, estimates before there is a node."""

from __future__ import annotations

import math
import os
import shlex
import sys

import pytest

from parsl.executors import HighThroughputExecutor
from parsl.executors.errors import ExecutorShutDownError, InvalidResourceSpecification, ScalingFailed
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD, HTEXFuture
from parsl.executors.high_throughput.process_worker_pool import parse_arguments
from parsl.jobs.error_handlers import noop_error_handler, simple_error_handler
from parsl.providers import LocalProvider, SlurmProvider
from tests.live import pilot

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


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"cores_per_worker": 0}, "cores_per_worker"),
        ({"cores_per_worker": -1.0}, "cores_per_worker"),
        ({"mem_per_worker": 0}, "mem_per_worker"),
        ({"max_workers_per_node": 0}, "max_workers_per_node"),
        ({"prefetch_capacity": -1}, "prefetch_capacity"),
        ({"heartbeat_period": 0}, "heartbeat_period"),
        ({"heartbeat_period": 30, "heartbeat_threshold": 30}, "heartbeat_threshold"),
        ({"drain_period": 0}, "drain_period"),
        ({"worker_port_range": (55000, 54000)}, "worker_port_range"),
        ({"worker_port_range": (0, 10)}, "worker_port_range"),
        ({"worker_port": 70000}, "worker_port"),
        ({"cpu_affinity": "blok"}, "cpu_affinity"),
        ({"cpu_affinity": "list:"}, "cpu_affinity"),
    ],
)
def test_a_value_out_of_range_is_told_with_the_name_of_the_parameter(options, name):
    with pytest.raises(ValueError, match=rf"parameter '{name}'.*but got"):
        HighThroughputExecutor(**options)


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


def test_the_two_ports_of_earlier_releases_are_taken_with_a_warning():
    with pytest.warns(DeprecationWarning, match="worker_ports"):
        executor = HighThroughputExecutor(worker_ports=(51234, 51235))
    assert executor.worker_port == 51234


@pytest.mark.parametrize(
    "specification",
    [
        {"cores": 1},
        {"priority": "1"},
        {"priority": None},
        {"priority": math.nan},
        {"priority": 1, "x": 2},
        {"walltime": "1h"},
        {"walltime": None},
        {"walltime": math.nan},
    ],
)
def test_a_resource_specification_holds_priority_and_walltime_or_nothing(specification):
    with pytest.raises(InvalidResourceSpecification):
        HighThroughputExecutor().validate_resource_spec(specification)


@pytest.mark.parametrize(
    "specification",
    [
        {},
        {"priority": 1},
        {"priority": -0.5},
        {"priority": math.inf},
        {"walltime": 1e9},
        {"priority": 1, "walltime": 2},
    ],
)
def test_a_priority_is_any_number_and_so_is_a_walltime_where_blocks_do_not_end(specification):
    HighThroughputExecutor().validate_resource_spec(specification)


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


@pytest.mark.parametrize(
    ("options", "node", "expected"),
    [
        ({"max_workers_per_node": 3}, {}, 3),
        ({}, {}, 1),
        ({}, {"cores_per_node": 8}, 8),
        ({"cores_per_worker": 2.5}, {"cores_per_node": 8}, 3),
        ({"cores_per_worker": 16}, {"cores_per_node": 8}, 1),
        ({"mem_per_worker": 3}, {"cores_per_node": 8, "mem_per_node": 10}, 3),
        ({"available_accelerators": 4}, {"cores_per_node": 8}, 4),
        ({"max_workers_per_node": 2, "available_accelerators": 4}, {"cores_per_node": 8}, 2),
    ],
)
def test_how_many_workers_a_node_will_have_is_estimated(options, node, expected):
    executor = HighThroughputExecutor(**options)
    for name, value in node.items():
        setattr(executor.provider, name, value)
    assert executor.workers_per_node == expected


def test_a_future_of_a_call_knows_its_number():
    assert HTEXFuture(7).parsl_executor_task_id == 7


FIELDS = [
    "debug",
    "prefetch_capacity",
    "cores_per_worker",
    "mem_per_worker",
    "max_workers_per_node",
    "addresses",
    "task_port",
    "result_port",
    "worker_port",
    "logdir",
    "cert_dir",
    "heartbeat_period",
    "heartbeat_threshold",
    "drain_period",
    "poll_period",
    "cpu_affinity",
    "enable_mpi_mode",
    "mpi_launcher",
    "accelerators",
    "address_probe_timeout_string",
    "nodes_per_block",
]

# -- the command of a block --------------------------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path):
    """Start executors that ask for no block, and end them."""
    executors = []

    def start(**options):
        executor = pilot.htex(provider=pilot.provider(init_blocks=0), **options)
        executor.run_dir = str(tmp_path / "with space")
        executors.append(executor)
        executor.start()
        return executor

    yield start
    for executor in executors:
        executor.shutdown()


def parsed(command: str):
    """Read a command of a block as its manager does."""
    words = shlex.split(command)
    assert words[:3] == [sys.executable, "-m", "parsl.executors.high_throughput.process_worker_pool"]
    return parse_arguments(words[3:])


def test_the_command_of_a_block_says_all_that_was_configured(started):
    executor = started(
        worker_debug=True,
        cores_per_worker=0.5,
        mem_per_worker=1.5,
        max_workers_per_node=3,
        cpu_affinity="block",
        available_accelerators=["a b", "c"],
        prefetch_capacity=4,
        heartbeat_period=2,
        heartbeat_threshold=9,
        drain_period=100,
        address_probe_timeout=7,
    )
    options = parsed(executor._get_launch_command("12"))
    assert options.block_id == "12"
    assert options.debug is True
    assert (options.cores_per_worker, options.mem_per_worker, options.max_workers_per_node) == (0.5, 1.5, 3)
    assert options.cpu_affinity == "block"
    assert options.available_accelerators == ["a b", "c"]
    assert options.prefetch_capacity == 4
    assert (options.hb_period, options.hb_threshold, options.drain_period) == (2, 9, 100)
    assert options.address_probe_timeout == 7
    assert options.addresses == ["127.0.0.1"]
    assert options.port == executor._port
    assert options.logdir == os.path.abspath(executor.logdir)
    assert options.cert_dir == executor.cert_dir
    assert os.path.samefile(options.segments, executor._client.store.folder)
    assert os.path.exists(options.local_path)


def test_what_was_not_configured_is_left_to_the_manager(started):
    options = parsed(started(max_workers_per_node=None, encrypted=False)._get_launch_command("0"))
    assert options.debug is False
    assert options.max_workers_per_node == math.inf
    assert (options.mem_per_worker, options.drain_period, options.cert_dir) == (None, None, None)
    assert options.available_accelerators == []
    assert options.address_probe_timeout is None


def test_every_field_of_a_launch_command_of_earlier_releases_is_there(started):
    template = " ".join(f"{name}=<{{{name}}}>" for name in FIELDS) + " block=<{{block_id}}>"
    command = started(launch_cmd=template)._get_launch_command("5")
    assert command.endswith("block=<5>")
    assert "{" not in command
    assert "heartbeat_threshold=<120>" in command


def test_an_unknown_field_is_told_and_nothing_runs(tmp_path):
    with pytest.raises(KeyError, match="no_such_field"):
        pilot.kernel(tmp_path, pilot.htex(launch_cmd="run {no_such_field}"))


def test_braces_in_a_path_or_for_the_shell_stay_as_they_are(started, tmp_path):
    executor = started(launch_cmd="export A=${{HOME}}; run --logdir={logdir} {{block_id}}", label="odd {label}")
    command = executor._get_launch_command("3")
    assert command == f"export A=${{HOME}}; run --logdir={shlex.quote(os.path.abspath(executor.logdir))} 3"


def test_attributes_that_are_changed_before_the_start_count(tmp_path):
    executor = HighThroughputExecutor(provider=LocalProvider(init_blocks=0))
    executor.run_dir = str(tmp_path)
    executor.label = "renamed"
    executor.max_workers_per_node = 5
    executor.heartbeat_period = 3
    executor.cpu_affinity = "alternating"
    executor.address = "127.0.0.1"
    executor.launch_cmd = DEFAULT_LAUNCH_CMD
    with executor:
        executor.start()
        options = parsed(executor._get_launch_command("0"))
    assert options.max_workers_per_node == 5
    assert options.hb_period == 3
    assert options.cpu_affinity == "alternating"
    assert options.logdir == str(tmp_path / "renamed")


def test_what_it_says_to_usage_tracking():
    assert HighThroughputExecutor().get_usage_information() == {"mpi": False}
