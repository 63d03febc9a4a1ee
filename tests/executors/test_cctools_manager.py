"""The manager's process: when it calls its engine, what it makes of an end, which sockets it waits for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from parsl.executors import cctools_manager
from parsl.executors.cctools_manager import CATALOGUE_SECONDS, LAST_LOOK, Manager, end_of, port_for
from parsl.executors.cctools_messages import End, Ends, Task
from parsl.executors.high_throughput.streams import LENGTH


class HandTurned:
    """A loop whose calls and timers are turned by hand."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], object]] = []
        self.readers: dict[int, Callable[[], object]] = {}
        self.timer: tuple[float, Callable[[], object]] | None = None
        self.stopped = False

    def post(self, function: Callable[[], object]) -> None:
        self.posted.append(function)

    def add_reader(self, fd: Any, function: Callable[[], object]) -> None:
        self.readers[fd if isinstance(fd, int) else fd.fileno()] = function

    def remove_reader(self, fd: Any) -> None:
        self.readers.pop(fd if isinstance(fd, int) else fd.fileno(), None)

    def remove_writer(self, fd: Any) -> None:
        """Nothing is written late here."""

    def call_later(self, delay: float, function: Callable[[], object]) -> Any:
        self.timer = delay, function
        return SimpleNamespace(cancel=self._cancel)

    def _cancel(self) -> None:
        self.timer = None

    def stop(self) -> None:
        self.stopped = True

    def turn(self) -> None:
        posted, self.posted = self.posted, []
        for function in posted:
            function()

    def tick(self) -> float:
        assert self.timer is not None
        (delay, function), self.timer = self.timer, None
        function()
        return delay


class Scripted:
    """An engine that ends what the test says."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.ends: list[tuple[int, End]] = []
        self.calls = 0

    def submit(self, task: Task) -> int:
        return 1000 + task.number

    def collect(self) -> tuple[int, End] | None:
        self.calls += 1
        return self.ends.pop(0) if self.ends else None

    def cancel(self, engine_id: int) -> bool:
        return False

    def close(self) -> None:
        self.listener.close()


class Bench:
    """A manager on a loop turned by hand, and the executor's end of its stream."""

    def __init__(self, *, project: bool = False) -> None:
        self.loop = HandTurned()
        self.engine = Scripted()
        self.executor, theirs = socket.socketpair()
        self.theirs = theirs.fileno()
        self.manager = Manager(self.loop, theirs, self.engine, project=project)  # type: ignore[arg-type]
        self.loop.turn()

    def submit(self, number: int) -> None:
        data = msgspec.msgpack.encode(Task(number, b"", "", "/r", "c", {}, [], []))
        self.executor.sendall(LENGTH.pack(len(data)) + data)
        self.loop.readers[self.theirs]()
        self.loop.turn()

    def said(self) -> Any:
        size = LENGTH.unpack(self.executor.recv(LENGTH.size))[0]
        return msgspec.msgpack.decode(self.executor.recv(size), type=Ends)

    def close(self) -> None:
        self.manager.close()
        self.executor.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def looks(loop: HandTurned, number: int) -> list[float]:
    found = []
    while loop.timer is not None and len(found) < number:
        found.append(loop.tick())
    return found


def test_with_nothing_out_it_looks_less_and_less_often_and_then_no_more(bench: Bench) -> None:
    found = looks(bench.loop, 100)
    assert 5 < len(found) < 20
    assert found == sorted(found)
    assert found[-1] <= LAST_LOOK
    assert bench.loop.timer is None


def test_with_tasks_out_it_looks_each_second_at_last(bench: Bench) -> None:
    bench.submit(1)
    found = looks(bench.loop, 40)
    assert len(found) == 40
    assert found[-1] == LAST_LOOK


def test_a_project_is_kept_in_the_catalogue() -> None:
    bench = Bench(project=True)
    try:
        assert looks(bench.loop, 40)[-1] == CATALOGUE_SECONDS
    finally:
        bench.close()


def test_a_look_that_costs_much_is_not_repeated_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.02])
    monkeypatch.setattr(cctools_manager.time, "perf_counter", lambda: next(times))
    bench.manager._look_again = 0.001
    bench.manager._pass()
    assert bench.loop.timer is not None
    assert bench.loop.timer[0] == pytest.approx(0.4)


def test_ends_are_told_with_the_executor_s_numbers_in_one_message(bench: Bench) -> None:
    for number in (1, 2):
        bench.submit(number)
    bench.engine.ends = [(1002, End(0, "success", 0)), (1001, End(0, "signal", -9)), (7, End(0, "success", 0))]
    bench.loop.readers[bench.engine.listener.fileno()]()
    bench.loop.turn()
    assert [(e.number, e.result, e.status) for e in bench.said().ends] == [(2, "success", 0), (1, "signal", -9)]


def test_it_waits_for_the_engine_s_sockets_and_for_no_others(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)), socket.create_connection(("127.0.0.1", bench.engine.port)) as worker:
        accepted, _ = bench.engine.listener.accept()
        # The lowest free descriptor has changed, so the next call of the engine looks.
        bench.manager._pass()
        own = {bench.engine.listener.fileno(), accepted.fileno(), bench.theirs}
        assert set(bench.loop.readers) == own
        assert worker.fileno() not in bench.loop.readers
        number = accepted.fileno()
        accepted.close()
        bench.manager._pass()
        assert set(bench.loop.readers) == own - {number}


def test_the_executor_s_end_is_the_manager_s(bench: Bench) -> None:
    bench.executor.close()
    bench.loop.readers[bench.theirs]()
    assert bench.loop.stopped


@pytest.mark.parametrize(
    ("result", "status", "exceeded", "said", "expected"),
    [
        ("success", 0, None, "printed", End(0, "success", 0, "")),
        ("success", 3, None, " why \n", End(0, "success", 3, "it said: why")),
        ("signal", -9, None, None, End(0, "signal", -9, "")),
        (
            "resource exhaustion",
            0,
            {"memory": 100.0, "disk": -1},
            "",
            End(0, "resource exhaustion", 0, "memory (limit 100)"),
        ),
        ("max retries", 0, {"wall_time": 1.0}, "", End(0, "resource exhaustion", 0, "wall_time (limit 1)")),
        ("max retries", 0, {}, "", End(0, "max retries", 0, "")),
        ("success", 1, None, "x" * 5000, End(0, "success", 1, "it said: " + "x" * 1000)),
    ],
)
def test_the_end_of_a_task(result: str, status: int, exceeded: Any, said: str | None, expected: End) -> None:
    limits = None if exceeded is None else SimpleNamespace(**exceeded)
    assert end_of(result, status, limits, said) == expected


def test_a_manager_takes_a_port_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TCP_LOW_PORT", raising=False)
    assert port_for(9123) == 9123
    with socket.create_server(("127.0.0.1", port_for(0))):
        pass
    monkeypatch.setenv("TCP_LOW_PORT", "10000")
    assert port_for(0) == 0, "the library knows the range"
