"""Blocks that cannot start: futures fail in seconds with the block's own words, or run where a block has started."""

from __future__ import annotations

import stat
import time

import pytest

from parsl.app.app import python_app
from parsl.executors.errors import BadStateException
from parsl.providers import LocalProvider, SlurmProvider
from tests.chaos.report import chaos_report
from tests.live import pilot

# Two blocks may get there at the same moment; only one of them makes the folder.
AT_FIRST_ONLY = '{{ mkdir "$PARSL_CHAOS_FOLDER/first" 2> /dev/null && {0}; }} || true'


def over_tcp(**options):
    return pilot.htex(launch_cmd=options.pop("launch_cmd", pilot.OVER_TCP), **options)


FAULTS = {
    "bad worker_init": (
        lambda: pilot.htex(provider=pilot.provider(worker_init="module load no-such-module-for-chaos || exit 3")),
        ["module", "EXIT CODE: 3"],
    ),
    "missing interpreter": (
        lambda: over_tcp(launch_cmd=pilot.OVER_TCP.replace("{python}", "/no/such/python")),
        ["/no/such/python", "No such file or directory", "EXIT CODE: 127"],
    ),
    "package not installed there": (
        lambda: over_tcp(launch_cmd=pilot.OVER_TCP.replace("-m parsl.executors", "-m parsl_of_tomorrow.executors")),
        ["parsl_of_tomorrow", "EXIT CODE: 1"],
    ),
    "no route to the interchange": (
        lambda: over_tcp(
            launch_cmd=pilot.OVER_TCP.replace("{addresses}", "127.0.0.9,no.such.host.invalid"), address_probe_timeout=3
        ),
        ["no route to the interchange", "127.0.0.9: ECONNREFUSED", "EXIT CODE: 1"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_futures_fail_in_seconds_with_the_blocks_own_words(tmp_path, fault):
    make, words = FAULTS[fault]
    began = time.monotonic()
    with pilot.kernel(tmp_path, make()) as kernel:
        error = python_app(abs, data_flow_kernel=kernel)(-1).exception(pilot.SOON)
        seconds = time.monotonic() - began
        assert isinstance(error, BadStateException)
        for word in words:
            assert word in str(error)
        assert seconds < 12
        chaos_report(f"block: {fault}", "BadStateException with the block's standard error", seconds)


def test_a_partition_that_is_not_there(tmp_path, monkeypatch):
    """As a batch system says it: the command that submits refuses."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel"):
        command = commands / name
        command.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: nowhere' >&2\nexit 1\n")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    provider = SlurmProvider(partition="nowhere", init_blocks=1, max_blocks=1)
    began = time.monotonic()
    with pilot.kernel(tmp_path, pilot.htex(provider=provider)) as kernel:
        error = python_app(abs, data_flow_kernel=kernel)(-1).exception(pilot.SOON)
        assert isinstance(error, BadStateException)
        assert "invalid partition specified: nowhere" in str(error)
        chaos_report("block: wrong partition", "BadStateException with the words of sbatch", time.monotonic() - began)


def test_with_another_block_that_has_started_tasks_run_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PARSL_CHAOS_FOLDER", str(tmp_path))
    provider = LocalProvider(init_blocks=2, max_blocks=2, worker_init=AT_FIRST_ONLY.format("exit 3"))
    with pilot.kernel(tmp_path, pilot.htex(provider=provider)) as kernel:
        executor = kernel.executors["htex"]
        app = python_app(divmod, data_flow_kernel=kernel)
        assert [f.result(pilot.SOON) for f in [app(i, 7) for i in range(100)]] == [divmod(i, 7) for i in range(100)]
        assert not executor.bad_state_is_set
        failed = pilot.wait_for(lambda: [b for b, s in executor.status().items() if s.terminal])
        assert len(failed) == 1


def test_a_block_that_starts_where_the_strategy_asks_for_another(tmp_path, monkeypatch):
    """The first fails; by the rule for several, the executor goes on with the next."""
    monkeypatch.setenv("PARSL_CHAOS_FOLDER", str(tmp_path))
    provider = LocalProvider(init_blocks=1, max_blocks=1, worker_init=AT_FIRST_ONLY.format("exit 3"))
    executor = pilot.htex(provider=provider, block_error_handler=False)
    began = time.monotonic()
    with pilot.kernel(tmp_path, executor, strategy="simple") as kernel:
        assert python_app(abs, data_flow_kernel=kernel)(-1).result(60) == 1
        chaos_report("block: fails once", "nothing: the next block runs the tasks", time.monotonic() - began)
