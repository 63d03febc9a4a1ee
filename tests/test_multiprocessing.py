from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys
from typing import Any

import psutil
import pytest

import parsl.multiprocessing as ours
from parsl.multiprocessing import join_terminate_close_proc

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="fork")


def test_names_are_those_of_the_start_methods() -> None:
    fork, spawn = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")
    assert ours.ForkContext is fork
    assert ours.SpawnContext is spawn
    assert ours.ForkProcess is fork.Process
    assert ours.SpawnProcess is spawn.Process
    assert ours.SpawnContext.get_start_method() == "spawn"


QUEUE_AND_EVENT = """
from parsl.multiprocessing import SpawnEvent, SpawnQueue
event, queue = SpawnEvent(), SpawnQueue(3)
event.set()
queue.put("x")
print(event.is_set(), queue.get(timeout=10))
"""


def test_events_and_queues_of_the_spawn_method_can_be_made() -> None:
    # In a process of its own, as the standard library starts another one for their semaphores.
    ended = subprocess.run(
        [sys.executable, "-c", QUEUE_AND_EVENT], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == "True x\n"


def test_unknown_names_are_missing() -> None:
    with pytest.raises(AttributeError, match="'Thread'"):
        ours.Thread  # noqa: B018


def test_a_start_method_that_is_not_there_is_a_missing_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_context(method: str) -> None:
        raise ValueError(f"cannot find context for {method!r}")

    monkeypatch.setattr(multiprocessing, "get_context", get_context)
    monkeypatch.delitem(vars(ours), "ForkContext", raising=False)
    with pytest.raises(AttributeError, match="cannot find context for 'fork'"):
        ours.ForkContext  # noqa: B018
    assert not hasattr(ours, "ForkContext")


def test_importing_does_not_import_the_standard_one() -> None:
    code = "import sys, parsl.multiprocessing; print('multiprocessing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# A child for each way to go. The pipe's end is what the test waits on: the child is set up when it has written.
def ready_child(how: str) -> tuple[Any, int]:
    reader, writer = ours.ForkContext.Pipe(duplex=False)
    process = ours.ForkProcess(target=child, args=(how, writer), name=f"child-{how}")
    process.start()
    writer.close()
    assert reader.poll(30)
    reader.recv()
    reader.close()
    assert process.pid is not None
    return process, process.pid


def child(how: str, writer: Any) -> None:
    import signal

    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    writer.send("ready")
    if how != "willing":
        signal.pause()


@pytest.mark.parametrize(
    ("how", "timeout", "warnings"), [("willing", 30, 0), ("asleep", 0.05, 1), ("stubborn", 0.05, 2)]
)
def test_a_process_ends_one_way_or_another(
    how: str, timeout: float, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    descriptors = psutil.Process().num_fds()
    process, pid = ready_child(how)
    with caplog.at_level(logging.WARNING, logger="parsl.multiprocessing"):
        join_terminate_close_proc(process, timeout=timeout)
    assert not psutil.pid_exists(pid)
    assert len(caplog.records) == warnings
    assert all(f"child-{how}" in record.getMessage() for record in caplog.records)
    assert psutil.Process().num_fds() == descriptors
    with pytest.raises(ValueError, match="closed"):
        process.is_alive()
