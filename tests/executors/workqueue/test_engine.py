"""What the library of Work Queue is told, with a library of the tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from parsl.executors.cctools_messages import End, Task, Transfer

MODULE = "parsl.executors.workqueue.engine"


class Recorded:
    """Remembers the calls of its methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.calls: list[tuple[Any, ...]] = [("made", *args, kwargs)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "_work_queue":
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, *args, *([kwargs] if kwargs else [])))

    def told(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


class Queue(Recorded):
    port = 4711
    made: Queue | None = None
    _work_queue = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.submitted: list[Recorded] = []
        self.ended: list[Any] = []
        self.states: dict[int, int] = {}
        Queue.made = self

    def submit(self, task: Recorded) -> int:
        self.submitted.append(task)
        return len(self.submitted)

    def wait(self, seconds: int) -> Any:
        self.calls.append(("wait", seconds))
        return self.ended.pop(0) if self.ended else None

    def task_state(self, number: int) -> int:
        return self.states[number]

    def cancel_by_taskid(self, number: int) -> Any:
        self.calls.append(("cancel", number))
        return object()


@pytest.fixture
def engine_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    library: Any = ModuleType("work_queue")
    library.WorkQueue, library.Task = Queue, Recorded
    library.WORK_QUEUE_RESULT_SUCCESS, library.WORK_QUEUE_TASK_READY = 0, 1
    library.WORK_QUEUE_INPUT, library.WORK_QUEUE_OUTPUT = "in", "out"
    library.WORK_QUEUE_ALLOCATION_MODE_MAX_THROUGHPUT = "throughput"
    library.work_queue_result_str = lambda number: {0: "SUCCESS", 2: "OUTPUT_MISS", 16: "RESOURCE_EXHAUSTION"}[number]
    monkeypatch.setitem(sys.modules, "ndcctools", None)
    monkeypatch.setitem(sys.modules, "work_queue", library)
    sys.modules.pop(MODULE, None)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


def queue() -> Queue:
    assert Queue.made is not None
    return Queue.made


def test_a_task_is_told_in_the_library_s_words(engine_module: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    engine = engine_module.WorkQueueEngine("/logs", max_retries=3, env={"A": "b"}, port=5)
    inputs = [Transfer("/data/x", "f0-x", cache=True), Transfer(str(tmp_path / "folder"), "f1-folder")]
    resources = {"cores": 2, "memory": 10.6, "priority": 1.5, "running_time_max": 60}
    task = Task(8, b"call", "", "/r/8.result", "fit", resources, inputs, [Transfer("/data/y", "f2-y")])
    assert engine.submit(task) == 1
    told = queue().submitted[0]
    assert told.told("specify_buffer")[0][1] == "call"
    assert ("/r/8.result", "answer", {"cache": False}) in told.told("specify_output_file")
    assert ("/data/y", "f2-y", {"cache": False}) in told.told("specify_output_file")
    assert ("/data/x", "f0-x", {"cache": True}) in told.told("specify_input_file")
    assert told.told("specify_directory")[0][1] == "f1-folder"
    assert told.told("specify_environment_variable") == [("A", "b")]
    assert told.told("specify_max_retries") == [(3,)]
    assert told.told("specify_cores") == [(2,)]
    assert told.told("specify_memory") == [(10,)]
    assert told.told("specify_priority") == [(1.5,)]
    assert told.told("specify_running_time_max") == [(60,)]
    assert told.told("specify_category") == [("fit",)]


def test_a_large_call_is_a_file(engine_module: Any) -> None:
    engine = engine_module.WorkQueueEngine("/logs")
    engine.submit(Task(8, b"", "/r/8.call", "/r/8.result", "fit", {}, [], []))
    assert ("/r/8.call", "call", {"cache": False}) in queue().submitted[0].told("specify_input_file")
    assert queue().submitted[0].told("specify_buffer") == []


def test_each_category_is_learnt_of_once(engine_module: Any) -> None:
    engine = engine_module.WorkQueueEngine("/logs", autolabel=True, autolabel_window=7)
    for number, category in enumerate(["a", "b", "a"]):
        engine.submit(Task(number, b"", "", "/r", category, {}, [], []))
    assert queue().told("specify_category_mode") == [("a", "throughput"), ("b", "throughput")]
    assert ("category-steady-n-tasks", 7) in queue().told("tune")
    assert len(queue().told("enable_monitoring")) == 1


def test_silent_workers_are_asked_after_a_minute_or_as_told(engine_module: Any) -> None:
    engine_module.WorkQueueEngine("/logs")
    assert queue().told("tune") == [("keepalive-interval", 60), ("keepalive-timeout", 30)]
    engine_module.WorkQueueEngine("/logs", tune={"keepalive-interval": 5})
    assert queue().told("tune") == [("keepalive-interval", 5), ("keepalive-timeout", 30)]


def test_the_end_of_a_task(engine_module: Any) -> None:
    engine = engine_module.WorkQueueEngine("/logs")
    exceeded = SimpleNamespace(memory=100.0)
    queue().ended = [
        SimpleNamespace(id=3, result=16, return_status=0, limits_exceeded=exceeded, output=""),
        SimpleNamespace(id=4, result=2, return_status=1, limits_exceeded=None, output="why"),
    ]
    assert engine.collect() == (3, End(0, "resource exhaustion", 0, "memory (limit 100)"))
    assert engine.collect() == (4, End(0, "output missing", 1, "it said: why"))
    assert engine.collect() is None


def test_only_a_waiting_task_is_cancelled(engine_module: Any) -> None:
    engine = engine_module.WorkQueueEngine("/logs")
    queue().states = {1: 1, 2: 2}
    assert engine.cancel(1)
    assert not engine.cancel(2)
    assert queue().told("cancel") == [(1,)]


def test_a_library_that_cannot_but_wait_waits_as_short_as_it_can(engine_module: Any) -> None:
    engine = engine_module.WorkQueueEngine("/logs")
    engine.collect()
    assert queue().told("wait") == [(1,)]
