"""From exit codes, last words and the system's counters to what a task is told."""

from __future__ import annotations

import signal

import pytest

from parsl.app import limits
from parsl.executors.high_throughput import worker
from parsl.executors.high_throughput.deaths import MemoryWatch, _Counter, death_of, group_counters
from parsl.executors.high_throughput.pool import Death

STACK = f'  File "app.py", line 5 in crash\n  File "{limits.__file__}", line 9 in limited\n'
WORDS = f'{{}} (most recent call first):\n{STACK}  File "{worker.__file__}", line 134 in _serve\n'
SHOWN = '  File "app.py", line 5 in crash'


@pytest.mark.parametrize(
    ("code", "words", "memory", "peak", "death"),
    [
        pytest.param(3, "", None, 0, Death("exit code 3"), id="exit code"),
        pytest.param(-9, "", None, 5, Death("signal SIGKILL"), id="signal"),
        pytest.param(-11, WORDS.format("Fatal\n\nStack"), None, 0, Death("signal SIGSEGV", SHOWN), id="crash"),
        pytest.param(
            3, WORDS.format("SystemExit(3)"), None, 0,
            Death("exit code 3 by SystemExit(3)", SHOWN, asked_for=True), id="SystemExit",
        ),
        pytest.param(
            1, WORDS.format("slow\nTimeout (0:02)!\nThread 1"), None, 0, Death("its time was over", SHOWN, "slow"),
            id="overdue",
        ),
        pytest.param(
            -9, "", "none left", 1_250_000_000,
            Death("signal SIGKILL: out of memory: none left; the worker had 1.25 GB"), id="memory",
        ),
        pytest.param(-9, "", "none left", 0, Death("signal SIGKILL: out of memory: none left"), id="memory, no peak"),
        pytest.param(-15, "", "none left", 9, Death("signal SIGTERM"), id="another signal in a time without memory"),
    ],
)  # fmt: skip
def test_death(code, words, memory, peak, death):
    assert death_of(code, words, memory, peak) == death


@pytest.fixture
def group(tmp_path):
    """Counters of a control group and of the node, in files."""
    (tmp_path / "events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 4\noom_group_kill 0\n")
    (tmp_path / "max").write_text("536870912\n")
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 4\n")
    return tmp_path


@pytest.fixture
def watch(group):
    return MemoryWatch([_Counter(str(group / "events"), str(group / "max")), _Counter(str(group / "vmstat"), None)])


def test_what_was_killed_before_is_no_news(watch):
    assert watch.look() is None


def test_a_kill_in_the_group_is_told_once_and_with_its_limit(watch, group):
    for name in ("events", "vmstat"):
        path = group / name
        path.write_text(path.read_text().replace("oom_kill 4", "oom_kill 5"))
    assert watch.look() == "the system killed it as the job's control group had used up its memory of 537 MB"
    assert watch.look() is None


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_a_group_without_a_limit_of_its_own(watch, group, limit):
    (group / "max").write_text(limit)
    (group / "events").write_text("oom_kill 5\n")
    assert watch.look() == "the system killed it as the job's control group had used up its memory"


def test_a_kill_on_the_node_is_said_to_be_just_that(watch, group):
    (group / "vmstat").write_text("oom_kill 6\n")
    assert watch.look() == "at that time, the system killed processes as the node had no memory left"


def test_what_cannot_be_read_is_passed_over(watch, group):
    (group / "events").unlink()
    (group / "vmstat").write_text("oom_kill many\n")
    assert watch.look() is None
    assert MemoryWatch([_Counter(str(group / "nowhere"), None)]).look() is None


def test_the_counters_of_this_very_process_can_be_asked():
    assert MemoryWatch().look() is None


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("0::/job/step", ["/root/job/step/memory.events", "/root/job/step/memory.max"]),
        ("0::/", ["/root/memory.events", "/root/memory.max"]),
        ("4:memory:/job", ["/root/memory/job/memory.oom_control", "/root/memory/job/memory.limit_in_bytes"]),
        ("4:cpu,memory:/a:b", ["/root/memory/a:b/memory.oom_control", "/root/memory/a:b/memory.limit_in_bytes"]),
        ("8:pids:/job", []),
        ("9:name=systemd:/job", []),
    ],
)
def test_where_control_groups_count(line, paths):
    assert [p for counter in group_counters([line], "/root") for p in counter] == paths


def test_signals_have_names_where_the_system_has(watch):
    assert death_of(-signal.SIGBUS, "", None, 0).cause == "signal SIGBUS"
    assert death_of(-200, "", None, 0).cause == "signal 200"
