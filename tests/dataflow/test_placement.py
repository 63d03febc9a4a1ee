"""Which executor a task goes to that several may run."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl import File, bash_app, python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.placement import Placement, Room, choose, has_files
from parsl.executors.base import ParslExecutor
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, threads_config

# -- the choice, as a pure function -----------------------------------------------------------------------------------

IDLE = Room(0, 4, 4)
HALF = Room(2, 4, 4)
FULL = Room(4, 4, 4)
COMING = Room(0, 0, 64)
BROKEN = Room(0, 0, 0)
SILENT = None


@pytest.mark.parametrize(
    ("rooms", "chosen"),
    [
        ([FULL, IDLE], 1),
        ([HALF, IDLE], 1),
        ([HALF, COMING], 0),
        ([FULL, COMING], 1),
        ([FULL, SILENT], 1),
        ([HALF, SILENT], 0),
        ([SILENT, COMING], 0),
        ([BROKEN, FULL], 1),
        ([BROKEN, SILENT], 1),
        ([Room(10, 4, 4), Room(100, 64, 64)], 1),  # 2.8 against 1.6 calls a slot
        ([Room(4, 4, 4), Room(64, 64, 64)], 1),
        ([Room(3, 4, 4), Room(10, 64, 64)], 1),
        ([Room(5, 0, 0), Room(2, 0, 0)], 1),
    ],
)
def test_the_one_with_room_is_chosen(rooms: list[Room | None], chosen: int) -> None:
    for turn in range(4):
        assert choose(rooms, turn) == chosen


counts = st.integers(0, 10_000)


@st.composite
def a_room(draw: st.DrawFn) -> Room | None:
    slots = draw(st.integers(0, 1000))
    return draw(st.none() | st.builds(Room, counts, st.just(slots), st.integers(slots, 2000)))


@given(st.lists(a_room(), min_size=1, max_size=8), st.integers(0, 1000))
def test_no_task_waits_where_another_would_begin_it(rooms: list[Room | None], turn: int) -> None:
    chosen = rooms[choose(rooms, turn)]
    free = [r for r in rooms if r is not None and r.outstanding < r.slots]
    if free:
        assert chosen in free
        assert chosen is not None
        assert chosen.outstanding / chosen.slots == min(r.outstanding / r.slots for r in free)
    elif None in rooms:
        assert chosen is None
    else:
        alive = [r for r in rooms if r is not None and r.expected > 0]
        assert not alive or chosen in alive


@given(st.integers(1, 8), st.integers(0, 1000))
def test_equals_take_turns(n: int, turn: int) -> None:
    for equal in (IDLE, FULL, COMING, SILENT):
        assert sorted(choose([equal] * n, turn + i) for i in range(n)) == list(range(n))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(0, 300))
def test_a_burst_is_spread_by_size(slots: list[int], tasks: int) -> None:
    held = [0] * len(slots)
    for turn in range(tasks):
        held[choose([Room(h, s, s) for h, s in zip(held, slots, strict=True)], turn)] += 1
    assert sum(held) == tasks
    # Nobody has a task more than would bring another one to the same load.
    for h, s in zip(held, slots, strict=True):
        for other_h, other_s in zip(held, slots, strict=True):
            assert h == 0 or (h - 1) / s <= (other_h + 1) / other_s


# -- what a call may say ----------------------------------------------------------------------------------------------


def placement(**rooms: Room | None) -> Placement:
    made = Placement({label: SimpleNamespace(room=lambda r=r: r) for label, r in rooms.items()}, "hidden")
    made.refresh()
    return made


def test_all_leaves_out_the_kernels_own_executor() -> None:
    assert placement(a=IDLE, hidden=IDLE, b=IDLE).allowed("all", 1) == ("a", "b")
    assert placement(a=IDLE, hidden=IDLE).allowed(["hidden"], 1) == ["hidden"]


@pytest.mark.parametrize("wrong", ["a", [], (), None, 5, {"a"}])
def test_what_is_no_list_of_labels_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"Task 7: 'executors' must be 'all' or a list of labels, but got "):
        placement(a=IDLE).allowed(wrong, 7)


def test_an_unknown_label_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"Task 7 asks for executor 'c', but there are only \['a', 'b'\]"):
        placement(a=IDLE, b=IDLE, hidden=IDLE).allowed(["a", "c"], 7)


def test_a_list_is_copied() -> None:
    labels = ["a", "b"]
    allowed = placement(a=IDLE, b=IDLE).allowed(labels, 1)
    labels.append("nonsense")
    assert list(allowed) == ["a", "b"]


def a_task(*args: Any, choices: Any = ("full", "idle"), **kwargs: Any) -> Any:
    return SimpleNamespace(args=args, kwargs=kwargs, choices=choices, executor="full")


def test_a_task_with_files_is_bound_once_and_others_each_time() -> None:
    where = placement(full=FULL, idle=IDLE)
    task = a_task(File("x"))
    where.bind(task)
    assert (task.executor, task.choices) == ("idle", None)
    task = a_task(1)
    where.bind(task)
    assert (task.executor, task.choices) == ("full", ("full", "idle"))
    where.place(task)
    assert (task.executor, task.choices) == ("idle", ("full", "idle"))
    task = a_task(choices=None)
    where.place(task)
    assert task.executor == "full"


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [
        ((1, "text"), {"inputs": [1], "stdout": "path"}, False),
        ((File("x"),), {}, True),
        ((), {"stdout": File("x")}, True),
        ((), {"inputs": [1, File("x")]}, True),
        ((), {"outputs": (File("x"),)}, True),
        ((), {"inputs": None}, False),
    ],
)
def test_files_are_looked_for_where_staging_does(args: Any, kwargs: Any, found: bool) -> None:
    assert has_files(a_task(*args, **kwargs)) is found


# -- in a kernel ------------------------------------------------------------------------------------------------------


def where() -> str:
    return threading.current_thread().name.rpartition("_")[0]


def pools(**threads: int) -> list[ParslExecutor]:
    return [ThreadPoolExecutor(label=label, max_threads=n) for label, n in threads.items()]


def test_a_busy_executor_is_passed_by(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go.wait(SOON)

    with DataFlowKernel(threads_config(tmp_path, executors=pools(busy=1, free=1))) as kernel:
        held = python_app(hold, data_flow_kernel=kernel, executors=["busy"])()
        assert begun.wait(SOON)
        anywhere = python_app(where, data_flow_kernel=kernel)
        assert {anywhere().result(timeout=SOON) for _ in range(20)} == {"free"}
        go.set()
        held.result(timeout=SOON)


def test_a_task_is_bound_when_what_it_depends_on_is_done(tmp_path: Path) -> None:
    gate: Future[None] = Future()
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go.wait(SOON)

    with DataFlowKernel(threads_config(tmp_path, executors=pools(a=1, b=1))) as kernel:
        waiting = [python_app(lambda _: where(), data_flow_kernel=kernel, executors=["a", "b"])(gate) for _ in range(2)]
        held = python_app(hold, data_flow_kernel=kernel, executors=["a"])()
        assert begun.wait(SOON)
        gate.set_result(None)
        # Both were submitted when `a` was idle.
        assert waiting[0].result(timeout=SOON) == "b"
        go.set()
        held.result(timeout=SOON)
        waiting[1].result(timeout=SOON)


def test_a_retry_may_go_elsewhere(tmp_path: Path) -> None:
    seen: list[str] = []

    def fail_once() -> None:
        seen.append(where())
        if len(seen) < 4:
            raise ValueError

    with DataFlowKernel(threads_config(tmp_path, executors=pools(a=1, b=1), retries=3)) as kernel:
        future = python_app(fail_once, data_flow_kernel=kernel)()
        record = future.task_record
        future.result(timeout=SOON)
    assert set(seen) == {"a", "b"}
    assert record["executor"] == seen[-1]


def test_a_call_says_where_it_may_run(tmp_path: Path) -> None:
    with DataFlowKernel(threads_config(tmp_path, executors=pools(a=1, b=1, c=1))) as kernel:
        app = python_app(where, data_flow_kernel=kernel, executors=["a"])
        assert app().result(timeout=SOON) == "a"
        assert app(parsl_executors=["b"]).result(timeout=SOON) == "b"
        assert {app(parsl_executors=("b", "c")).result(timeout=SOON) for _ in range(12)} == {"b", "c"}
        assert {app(parsl_executors="all").result(timeout=SOON) for _ in range(12)} == {"a", "b", "c"}
        assert app(parsl_executors=None).result(timeout=SOON) == "a"
        with pytest.raises(ValueError, match="asks for executor 'd'"):
            app(parsl_executors=["d"])
        bash = bash_app(lambda stdout=None: "true", data_flow_kernel=kernel)
        future = bash(stdout=str(tmp_path / "out"), parsl_executors=["c"])
        assert future.task_record.executor == "c"
        assert future.result(timeout=SOON) == 0


def test_a_function_may_say_where_it_runs_by_default(tmp_path: Path) -> None:
    def here(parsl_executors: Any = ("b",)) -> str:
        return where()

    with DataFlowKernel(threads_config(tmp_path, executors=pools(a=1, b=1))) as kernel:
        app = python_app(here, data_flow_kernel=kernel)
        assert app().result(timeout=SOON) == "b"
        assert app(parsl_executors=["a"]).result(timeout=SOON) == "a"


def test_files_bind_a_task_at_its_submission(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("content")
    gate: Future[None] = Future()
    with DataFlowKernel(threads_config(tmp_path, executors=pools(a=1, b=1))) as kernel:
        future = python_app(lambda gate, file: where(), data_flow_kernel=kernel)(gate, File(str(tmp_path / "data")))
        assert future.task_record.choices is None
        bound = future.task_record.executor
        gate.set_result(None)
        assert future.result(timeout=SOON) == bound


class Silent(ThreadPoolExecutor):
    """An executor from elsewhere, which tells nothing of its room."""

    def room(self) -> Any:
        return None


def test_an_executor_that_cannot_tell_gets_what_the_others_have_no_room_for(tmp_path: Path) -> None:
    begun, go = threading.Barrier(2), threading.Event()

    def hold() -> str:
        begun.wait(SOON)
        assert go.wait(SOON)
        return where()

    executors = [Silent(label="silent", max_threads=1), *pools(known=1)]
    with DataFlowKernel(Config(executors=executors, run_dir=str(tmp_path), strategy="none")) as kernel:
        futures = [python_app(hold, data_flow_kernel=kernel)() for _ in range(2)]
        go.set()
        assert [f.result(timeout=SOON) for f in futures] == ["known", "silent"]


def test_threads_tell_their_room() -> None:
    executor = ThreadPoolExecutor(max_threads=2)
    assert executor.room() == Room(0, 2, 2)
    with executor:
        executor.start()
        begun, go = [threading.Event() for _ in range(2)], threading.Event()
        futures = [executor.submit(lambda b: (b.set(), go.wait(SOON)), {}, b) for b in [*begun, threading.Event()]]
        for b in begun:
            assert b.wait(SOON)
        assert executor.room() == Room(3, 2, 2)
        go.set()
        for f in futures:
            f.result(timeout=SOON)
        assert executor.room() == Room(0, 2, 2)


def test_turns_do_not_end() -> None:
    assert list(itertools.islice((choose([IDLE, IDLE], t) for t in itertools.count(10**12)), 2)) in ([0, 1], [1, 0])
