from __future__ import annotations

import math
import os
import shlex
import sys

import pytest

from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.launch_command import DEFAULT_LAUNCH_CMD
from parsl.executors.high_throughput.process_worker_pool import parse_arguments
from parsl.providers import LocalProvider
from tests.live import pilot

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
