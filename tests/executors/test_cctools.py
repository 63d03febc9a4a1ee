"""What the executors on cctools share, on an engine of the tests in the manager's real process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parsl import File, bash_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.errors import OptionalModuleMissing
from parsl.executors.base import Call, FutureCall
from parsl.executors.cctools import CctoolsExecutor
from parsl.executors.errors import BadStateException, EngineWorkerLost, InvalidResourceSpecification
from parsl.executors.workqueue.errors import WorkQueueFailure, WorkQueueTaskFailure, WorkQueueWorkerLost
from tests.executors.contract import PATIENCE, ExecutorContract, add, make_bytes

ROOT = Path(__file__).parent.parent.parent


class FakeExecutor(CctoolsExecutor):
    """An executor on the engine of the tests; a call's name is its category."""

    modules = ("json",)
    engine = "tests.executors.fake_engine:FakeEngine"
    failure = WorkQueueFailure

    def __init__(self, shared: bool = False, function_dir: str | None = None, **options: Any) -> None:
        super().__init__(provider=None)
        self.label = "fake"
        self.shared = shared
        self.function_dir = function_dir
        self.options = options

    @property
    def _file_options(self) -> dict[str, bool]:
        return {"shared": self.shared, "cache": False}

    def _category(self, call: Call) -> str:
        return str(getattr(call.func, "__name__", "default"))

    def _wanted_function_dir(self) -> str | None:
        return self.function_dir

    def _engine_options(self) -> dict[str, Any]:
        return self.options

    def _task_failure(self, reason: str, status: int, *, lost: bool) -> Exception:
        if lost:
            return WorkQueueWorkerLost(reason, status, self.label)
        return WorkQueueTaskFailure(reason, status)

    @property
    def workers_per_node(self) -> int:
        return 1

    def _get_launch_command(self, block_id: str) -> str:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the manager's process find the engine of the tests."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class TestContract(ExecutorContract):
    # Tasks run in the manager itself, one after another.
    SLOTS = 1
    CANCELS = False
    LOST = BadStateException
    SPECIFICATION: ClassVar = {"cores": 1, "memory": 10, "disk": 10, "gpus": 0, "priority": -1.5}

    @pytest.fixture
    def executor(self) -> FakeExecutor:
        return FakeExecutor()

    def test_a_lost_worker_costs_the_task_and_no_other(self, kernel: DataFlowKernel) -> None:
        pytest.skip("the worker is the manager here: see test_the_manager_s_end_is_the_end_of_all_tasks")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[FakeExecutor]:
    with FakeExecutor(
        ends={
            "greedy": ["resource exhaustion", 0, "memory (limit 100)"],
            "unlucky": ["max retries", 0, ""],
            "killed": ["output missing", 137, ""],
            "killed, told as a bare signal": ["output missing", 9, ""],
            "wordy": ["output missing", 127, "it said: python3: not found"],
            "odd": ["some new word", 0, ""],
            "silent": ["success", 0, ""],
        }
    ) as executor:
        executor.run_dir = str(tmp_path)
        executor.start()
        yield executor


def named(name: str) -> Any:
    def call() -> int:
        return 1

    call.__name__ = name
    return call


@pytest.mark.parametrize(
    ("name", "lost", "text"),
    [
        ("greedy", False, r"used more than it was given \(RESOURCE_EXHAUSTION\): memory \(limit 100\)"),
        ("unlucky", True, "as often as max_retries allows"),
        ("killed", True, "ended by signal 9"),
        ("killed, told as a bare signal", True, "ended by signal 9"),
        ("wordy", False, "exit code 127 and left no answer: it said: python3: not found"),
        ("odd", False, r"gave it up \(SOME_NEW_WORD\)"),
        ("silent", False, "has left no answer"),
        ("refused", False, "ValueError: not this one"),
    ],
)
def test_what_the_engine_says_becomes_the_task_s_error(started: FakeExecutor, name: str, lost: bool, text: str) -> None:
    future = started.submit(named(name), {})
    with pytest.raises(WorkQueueTaskFailure, match=text) as raised:
        future.result(timeout=PATIENCE)
    assert isinstance(raised.value, EngineWorkerLost) is lost
    assert started.submit(add, {}, 1, 2).result(timeout=PATIENCE) == 3


def test_a_waiting_task_can_be_cancelled(started: FakeExecutor) -> None:
    import queue

    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    from concurrent.futures import Future

    call = FutureCall(named("waiting"), (), {}, {}, Future())
    started.launch(call)
    assert started.outstanding() == 1
    assert started.loop is not None
    started.loop.call(started.cancel, call, answers.put)
    assert answers.get(timeout=PATIENCE) is True
    with pytest.raises(CancelledError):
        call.future.result(timeout=PATIENCE)
    # A second time there is nothing to cancel.
    started.loop.call(started.cancel, call, answers.put)
    assert answers.get(timeout=PATIENCE) is False
    assert started.outstanding() == 0


def test_a_task_counts_as_many_slots_as_it_wants_cores(started: FakeExecutor) -> None:
    started.submit(named("waiting"), {"cores": 3})
    started.submit(named("waiting"), {})
    assert started.outstanding() == 4
    assert len(started.tasks) == 2


def test_the_manager_s_end_is_the_end_of_all_tasks(started: FakeExecutor) -> None:
    waiting = started.submit(named("waiting"), {})
    crash = started.submit(named("crash"), {})
    for future in (waiting, crash):
        with pytest.raises(BadStateException, match="has ended with exit code 7"):
            future.result(timeout=PATIENCE)
    with pytest.raises(BadStateException):
        started.submit(add, {}, 1)
    assert isinstance(started.executor_exception, WorkQueueFailure)


def test_a_manager_that_does_not_start_says_why(tmp_path: Path) -> None:
    executor = FakeExecutor(broken="port 9123 is taken")
    executor.run_dir = str(tmp_path)
    with pytest.raises(WorkQueueFailure, match="port 9123 is taken"):
        executor.start()
    assert not executor.in_use


def test_a_manager_that_ends_at_once_is_told_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    executor = FakeExecutor()
    executor.run_dir = str(tmp_path)
    with pytest.raises(WorkQueueFailure, match="did not start"):
        executor.start()


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    executor = FakeExecutor()
    executor.modules = ("no_such_library.at_all", "no_such_library")
    executor.run_dir = str(tmp_path)
    with pytest.raises(OptionalModuleMissing, match=r"no_such_library.*conda install"):
        executor.start()


@pytest.mark.parametrize(
    "wrong", [{"cores": "2"}, {"memory": -1}, {"disk": True}, {"gpus": float("inf")}, {"running_time_min": None}]
)
def test_amounts_that_are_none_are_refused(started: FakeExecutor, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidResourceSpecification, match="numbers"):
        started.submit(add, wrong, 1)


def test_nothing_is_left_in_the_folder_for_calls(tmp_path: Path) -> None:
    functions = tmp_path / "functions"
    with FakeExecutor(function_dir=str(functions)) as executor:
        executor.run_dir = str(tmp_path)
        executor.start()
        (own,) = functions.iterdir()
        assert len(executor.submit(make_bytes, {}, 300_000).result(timeout=PATIENCE)) == 300_000
        assert executor.submit(len, {}, b"x" * 300_000).result(timeout=PATIENCE) == 300_000
        assert list(own.iterdir()) == []
        executor.submit(named("waiting"), {})
        assert len(list(own.iterdir())) == 1
    assert list(functions.iterdir()) == []


@pytest.mark.parametrize("shared", [False, True])
def test_files_and_streams_of_bash_apps(tmp_path: Path, shared: bool) -> None:
    executor = FakeExecutor(shared=shared)
    kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none"))
    try:
        (tmp_path / "in.txt").write_text("given")
        (tmp_path / "log.txt").write_text("before\n")
        if shared:
            # Nobody but the script makes folders there.
            os.makedirs(tmp_path / "new")
        run = bash_app(
            lambda inputs=(), outputs=(), stdout=None: f"cat {inputs[0]} > {outputs[0]}; echo after",
            data_flow_kernel=kernel,
        )
        made = run(
            inputs=[File(str(tmp_path / "in.txt"))],
            outputs=[File(str(tmp_path / "new" / "out.txt"))],
            stdout=str(tmp_path / "log.txt"),
        )
        assert made.result(timeout=PATIENCE) == 0
        assert (tmp_path / "new" / "out.txt").read_text() == "given"
        assert (tmp_path / "log.txt").read_text() == "before\nafter\n"
    finally:
        kernel.cleanup()
