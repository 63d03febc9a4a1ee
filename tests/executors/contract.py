"""What every executor promises, as tests: a class to derive from, with a fixture that makes the executor."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parsl import File, bash_app, join_app, python_app
from parsl.app.errors import BashExitFailure
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.errors import ConfigurationError
from parsl.executors.base import ParslExecutor
from parsl.executors.errors import ExecutorShutDownError, InvalidResourceSpecification
from parsl.serialize.errors import SerializationError

PATIENCE = 60.0
"""Seconds that a call takes at most on an engine that has just been started, on a busy machine."""


class RememberedError(Exception):
    """An exception with a field, raised by tasks."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def add(*numbers: int) -> int:
    return sum(numbers)


def fail(number: int) -> None:
    raise RememberedError(number)


def keyword(a: int, *, b: int = 2, **rest: int) -> tuple[int, int, dict[str, int]]:
    return a, b, rest


def count_bytes(data: bytes) -> int:
    return len(data)


def make_bytes(size: int) -> bytes:
    return b"x" * size


def pid() -> int:
    import os

    return os.getpid()


def hold(path: str) -> str:
    """Say in the pipe at `path` that this runs, then wait until a word can be read from `path`.go."""
    with open(path, "w") as begun:
        begun.write("begun")
    with open(f"{path}.go", "rb", buffering=0) as go:
        return go.read(8).decode()


def end_worker() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def write(text: str, outputs: Any = ()) -> str:
    with open(outputs[0], "w") as file:
        file.write(text)
    return str(outputs[0])


def read(inputs: Any = ()) -> str:
    with open(inputs[0]) as file:
        return file.read()


class Held:
    """A task that runs until it is released."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = str(folder / name)
        os.mkfifo(self.path)
        os.mkfifo(f"{self.path}.go")
        # Open at both ends, so that neither side waits for the other to come.
        self._begun = os.open(self.path, os.O_RDWR)
        self._go = os.open(f"{self.path}.go", os.O_RDWR)

    def wait(self) -> None:
        assert os.read(self._begun, 5) == b"begun"

    def begun(self, seconds: float) -> bool:
        """Wait so long for the task to begin; tell whether it has, once for each time."""
        ready = bool(select.select([self._begun], [], [], seconds)[0])
        if ready:
            self.wait()
        return ready

    def release(self) -> None:
        os.write(self._go, b"released")

    def close(self) -> None:
        os.close(self._go)
        os.close(self._begun)


class ExecutorContract:
    """Derive from this, and give a fixture `executor` that makes an executor that has not been started.

    Attributes:
        SEPARATE: whether tasks run in processes of their own, one of which can be killed.
        CANCELS: whether a task that waits in the executor can be cancelled.
        SLOTS: how many tasks run at once.
        LOST: what a task raises whose worker was killed.
        SPECIFICATION: a resource specification that is understood; None where none is.
        TASKS: how many tasks the test of many runs.
        LINKS: how many tasks the chain has.
        BYTES: how large large data are.
    """

    SEPARATE = True
    CANCELS = True
    SLOTS = 2
    LOST: type[BaseException] | tuple[type[BaseException], ...] = Exception
    SPECIFICATION: ClassVar[dict[str, Any] | None] = None
    WRONG_SPECIFICATION: ClassVar[dict[str, Any]] = {"no_such_resource": 1}
    TASKS = 1000
    LINKS = 20
    BYTES = 20_000_000

    @pytest.fixture
    def kernel(self, executor: ParslExecutor, tmp_path: Path) -> Iterator[DataFlowKernel]:
        kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none"))
        yield kernel
        kernel.cleanup()

    @pytest.fixture
    def held(self, tmp_path: Path) -> Iterator[list[Held]]:
        """Give one task to hold for each slot."""
        held = [Held(tmp_path, f"held{i}") for i in range(self.SLOTS)]
        yield held
        for h in held:
            h.close()

    def call(self, kernel: DataFlowKernel, function: Any, *args: Any, **kwargs: Any) -> Any:
        return python_app(function, data_flow_kernel=kernel)(*args, **kwargs)

    # -- results and exceptions

    def test_results_and_arguments(self, kernel: DataFlowKernel) -> None:
        assert self.call(kernel, add, 1, 2).result(timeout=PATIENCE) == 3
        assert self.call(kernel, keyword, 1, b=3, c=4).result(timeout=PATIENCE) == (1, 3, {"c": 4})
        base = 10
        assert self.call(kernel, lambda x: x + base, 1).result(timeout=PATIENCE) == 11
        assert self.call(kernel, lambda: None).result(timeout=PATIENCE) is None

    def test_an_exception_arrives_as_itself(self, kernel: DataFlowKernel) -> None:
        error = self.call(kernel, fail, 7).exception(timeout=PATIENCE)
        assert type(error).__name__ == "RememberedError"
        assert error.number == 7
        frames = []
        traceback = error.__traceback__
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert "fail" in frames

    def test_what_cannot_be_packed_is_the_error_of_that_task(self, kernel: DataFlowKernel) -> None:
        if not self.SEPARATE:
            pytest.skip("nothing is packed in this process")
        error = self.call(kernel, count_bytes, (i for i in ())).exception(timeout=PATIENCE)
        assert isinstance(error, SerializationError)
        error = self.call(kernel, lambda: (i for i in ())).exception(timeout=PATIENCE)
        assert isinstance(error, SerializationError)
        assert self.call(kernel, add, 1).result(timeout=PATIENCE) == 1

    # -- dependencies

    def test_dependencies(self, kernel: DataFlowKernel) -> None:
        one, two = self.call(kernel, add, 1), self.call(kernel, add, 2)
        three = self.call(kernel, add, one, two)
        assert self.call(kernel, add, three, three).result(timeout=PATIENCE) == 6
        assert three.result(timeout=PATIENCE) == 3

    def test_a_chain(self, kernel: DataFlowKernel) -> None:
        future = self.call(kernel, add, 0)
        for _ in range(self.LINKS):
            future = self.call(kernel, add, future, 1)
        assert future.result(timeout=PATIENCE) == self.LINKS

    def test_a_failure_reaches_what_depends_on_it(self, kernel: DataFlowKernel) -> None:
        error = self.call(kernel, add, self.call(kernel, fail, 1)).exception(timeout=PATIENCE)
        assert isinstance(error, DependencyError)

    def test_join_apps(self, kernel: DataFlowKernel) -> None:
        fan = join_app(lambda n: [self.call(kernel, add, i) for i in range(n)], data_flow_kernel=kernel)
        assert fan(4).result(timeout=PATIENCE) == [0, 1, 2, 3]

    # -- many and large

    def test_many_tasks(self, kernel: DataFlowKernel) -> None:
        futures = [self.call(kernel, add, i, 1) for i in range(self.TASKS)]
        assert [f.result(timeout=PATIENCE) for f in futures] == list(range(1, self.TASKS + 1))

    def test_large_data(self, kernel: DataFlowKernel) -> None:
        data = self.call(kernel, make_bytes, self.BYTES)
        assert self.call(kernel, count_bytes, data).result(timeout=PATIENCE) == self.BYTES
        assert data.result(timeout=PATIENCE) == b"x" * self.BYTES

    # -- bash apps and files

    def test_bash_apps(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        run = bash_app(lambda command, stdout=None, stderr=None: command, data_flow_kernel=kernel)
        out = str(tmp_path / "out")
        assert run("echo said", stdout=out).result(timeout=PATIENCE) == 0
        assert Path(out).read_text() == "said\n"
        error = run("echo why >&2; exit 3", stderr=str(tmp_path / "err")).exception(timeout=PATIENCE)
        assert isinstance(error, BashExitFailure)
        assert error.exitcode == 3

    def test_files_pass_from_task_to_task(self, kernel: DataFlowKernel, tmp_path: Path) -> None:
        written = self.call(kernel, write, "content", outputs=[File(str(tmp_path / "file"))])
        assert self.call(kernel, read, inputs=[written.outputs[0]]).result(timeout=PATIENCE) == "content"

    # -- resource specifications

    def test_a_resource_specification(self, kernel: DataFlowKernel) -> None:
        wrong = self.call(kernel, add, 1, parsl_resource_specification=self.WRONG_SPECIFICATION)
        assert isinstance(wrong.exception(timeout=PATIENCE), InvalidResourceSpecification)
        if self.SPECIFICATION is not None:
            right = self.call(kernel, add, 1, parsl_resource_specification=self.SPECIFICATION)
            assert right.result(timeout=PATIENCE) == 1

    # -- cancelling and the end

    def test_cancel(self, kernel: DataFlowKernel, held: list[Held]) -> None:
        if not self.CANCELS:
            pytest.skip("this engine drops no task that it has taken")
        running = [self.call(kernel, hold, h.path) for h in held]
        for h in held:
            h.wait()
        # Engines that keep some tasks in stock on their workers count these as running, so there are many.
        waiting = [self.call(kernel, add, i) for i in range(10 * self.SLOTS)]
        assert waiting[-1].cancel()
        with pytest.raises(CancelledError):
            waiting[-1].result(timeout=PATIENCE)
        for h in held:
            h.release()
        assert [r.result(timeout=PATIENCE) for r in running] == ["released"] * self.SLOTS
        assert [f.result(timeout=PATIENCE) for f in waiting[:-1]] == list(range(10 * self.SLOTS - 1))

    def test_shutdown_twice_and_a_call_after_it(self, executor: ParslExecutor, tmp_path: Path) -> None:
        kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none"))
        assert self.call(kernel, add, 1).result(timeout=PATIENCE) == 1
        kernel.cleanup()
        executor.shutdown()
        with pytest.raises(ExecutorShutDownError):
            executor.submit(add, {}, 1).result(timeout=PATIENCE)

    def test_tasks_that_are_open_at_the_end_are_told(
        self, executor: ParslExecutor, held: list[Held], tmp_path: Path
    ) -> None:
        kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runs"), strategy="none"))
        running = self.call(kernel, hold, held[0].path)
        held[0].wait()
        cleanup = threading.Thread(target=kernel.cleanup, name="cleanup")
        cleanup.start()
        # Before its engine has ended: nobody has to wait for the task that runs.
        assert running.exception(timeout=PATIENCE) is not None
        held[0].release()
        cleanup.join(PATIENCE)
        assert not cleanup.is_alive()

    def test_an_executor_serves_one_kernel(self, kernel: DataFlowKernel, executor: ParslExecutor) -> None:
        with pytest.raises(ConfigurationError):
            DataFlowKernel(Config(executors=[executor], run_dir=kernel.config.run_dir, strategy="none"))

    # -- losses

    def test_a_lost_worker_costs_the_task_and_no_other(self, kernel: DataFlowKernel) -> None:
        if not self.SEPARATE:
            pytest.skip("tasks run in this process")
        assert self.call(kernel, pid).result(timeout=PATIENCE) != os.getpid()
        error = self.call(kernel, end_worker).exception(timeout=PATIENCE)
        assert isinstance(error, self.LOST), repr(error)
        assert self.call(kernel, add, 1).result(timeout=PATIENCE) == 1
