"""ThreadPoolExecutor, without a kernel."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from queue import SimpleQueue
from typing import Any

import pytest

from parsl.app.errors import RemoteExceptionWrapper
from parsl.dataflow.taskrecord import Error, Outcome
from parsl.errors import ConfigurationError
from parsl.executors.errors import ExecutorShutDownError, InvalidResourceSpecification
from parsl.executors.threads import ThreadPoolExecutor
from tests.executors.contract import ExecutorContract
from tests.kernels import SOON


class TestThreads(ExecutorContract):
    SEPARATE = False

    @pytest.fixture
    def executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(label="threads", max_threads=2)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(label="pool", max_threads=2)
    pool.start()
    yield pool
    pool.shutdown()


class Held:
    """A call that lasts until it is released."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.begun, self.release = threading.Event(), threading.Event()
        self.future = pool.submit(self.hold, {})
        assert self.begun.wait(SOON)

    def hold(self) -> str:
        self.begun.set()
        assert self.release.wait(SOON)
        return "released"


def test_calls_run_on_named_threads(pool: ThreadPoolExecutor) -> None:
    one, two = Held(pool), Held(pool)
    names = sorted(t.name for t in threading.enumerate() if t.name.startswith("pool_"))
    assert names == ["pool_0", "pool_1"]
    one.release.set()
    two.release.set()
    assert pool.submit(pow, {}, 2, 3, mod=5).result(timeout=SOON) == 3


def test_the_prefix_of_the_names() -> None:
    with ThreadPoolExecutor(label="x", max_threads=1, thread_name_prefix="mine") as pool:
        pool.start()
        assert pool.submit(lambda: threading.current_thread().name, {}).result(timeout=SOON) == "mine_0"


def test_as_many_run_at_once_as_there_are_threads_and_the_rest_in_order(pool: ThreadPoolExecutor) -> None:
    one, two = Held(pool), Held(pool)
    seen: list[int] = []
    queued = [pool.submit(seen.append, {}, i) for i in range(20)]
    assert not any(f.done() for f in queued)
    one.release.set()
    wait(queued, timeout=SOON)
    assert seen == list(range(20))
    two.release.set()


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_what_a_call_raises_is_its_own(pool: ThreadPoolExecutor, error: BaseException) -> None:
    def fail() -> None:
        raise error

    futures = [pool.submit(fail, {}) for _ in range(6)]
    assert [f.exception(timeout=SOON) for f in futures] == [error] * 6
    assert pool.submit(len, {}, "abc").result(timeout=SOON) == 3


def test_a_wrapped_exception_is_an_exception(pool: ThreadPoolExecutor) -> None:
    error = ValueError()
    assert pool.submit(RemoteExceptionWrapper, {}, ValueError, error, None).exception(timeout=SOON) is error


def test_a_resource_specification_is_refused_at_once(pool: ThreadPoolExecutor) -> None:
    with pytest.raises(InvalidResourceSpecification, match="cores") as raised:
        pool.submit(len, {"cores": 1, "memory": 2}, "x")
    assert raised.value.invalid_keys == {"cores", "memory"}
    assert "pool" in str(raised.value)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_a_queued_call_whose_future_is_cancelled_does_not_run(pool: ThreadPoolExecutor) -> None:
    one, two = Held(pool), Held(pool)
    ran: list[int] = []
    queued = pool.submit(ran.append, {}, 1)
    last = pool.submit(ran.append, {}, 2)
    assert one.future.cancel() is False
    assert queued.cancel() is True
    for held in (one, two):
        held.release.set()
    last.result(timeout=SOON)
    assert wait([queued], timeout=SOON).done == {queued}
    assert ran == [2]
    assert queued.cancelled()


class Call:
    """What the kernel launches."""

    id, kwargs, resource_specification, executor_id = 5, {}, {}, None

    def __init__(self, func: Any, *args: Any) -> None:
        self.func, self.args = func, args
        self.outcomes: SimpleQueue[Outcome] = SimpleQueue()

    def done(self, outcome: Outcome) -> None:
        self.outcomes.put(outcome)


def test_cancelling_a_launched_call(pool: ThreadPoolExecutor) -> None:
    one, two = Held(pool), Held(pool)
    ran: list[int] = []
    call, answers = Call(ran.append, 1), []
    pool.launch(call)
    for _ in range(2):
        pool.cancel(call, answers.append)
    assert answers == [True, False]
    outcome = call.outcomes.get(timeout=SOON)
    assert isinstance(outcome, Error)
    assert isinstance(outcome.exception, CancelledError)
    assert "task 5" in str(outcome.exception)
    one.release.set()
    two.release.set()
    pool.submit(len, {}, "").result(timeout=SOON)
    assert ran == []
    assert call.outcomes.empty()


def test_a_running_call_is_not_cancelled(pool: ThreadPoolExecutor) -> None:
    begun, release = threading.Event(), threading.Event()
    call, answers = Call(lambda: (begun.set(), release.wait(SOON))), []
    pool.launch(call)
    assert begun.wait(SOON)
    pool.cancel(call, answers.append)
    assert answers == [False]
    release.set()
    assert not isinstance(call.outcomes.get(timeout=SOON), Error)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_shutdown_lets_running_calls_end_and_refuses_queued_ones(pool: ThreadPoolExecutor) -> None:
    one, two = Held(pool), Held(pool)
    queued = pool.submit(len, {}, "x")
    queued.add_done_callback(lambda _: (one.release.set(), two.release.set()))
    pool.shutdown()
    assert one.future.result(timeout=0) == two.future.result(timeout=0) == "released"
    assert isinstance(queued.exception(timeout=0), ExecutorShutDownError)
    with pytest.raises(ExecutorShutDownError, match="pool"):
        pool.submit(len, {}, "x")
    pool.shutdown()


def test_shutdown_need_not_wait(pool: ThreadPoolExecutor) -> None:
    held = Held(pool)
    pool.submit(len, {}, "x").result(timeout=SOON)
    pool.shutdown(block=False)
    assert not held.future.done()
    assert len([t for t in threading.enumerate() if t.name.startswith("pool_")]) == 1
    held.release.set()
    assert held.future.result(timeout=SOON) == "released"


def test_a_call_may_shut_its_pool_down(pool: ThreadPoolExecutor) -> None:
    assert pool.submit(pool.shutdown, {}).result(timeout=SOON) is None


def test_no_call_is_lost_when_shutdown_races_with_submit() -> None:
    for _ in range(40):
        pool = ThreadPoolExecutor(max_threads=2)
        pool.start()
        begin = threading.Barrier(4)
        futures: SimpleQueue[Any] = SimpleQueue()

        def submit(
            pool: ThreadPoolExecutor = pool, begin: threading.Barrier = begin, futures: SimpleQueue[Any] = futures
        ) -> None:
            begin.wait(SOON)
            try:
                while True:
                    futures.put(pool.submit(len, {}, "x"))
            except ExecutorShutDownError:
                pass

        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        begin.wait(SOON)
        pool.shutdown()
        for thread in threads:
            thread.join(SOON)
        ends = [futures.get_nowait() for _ in range(futures.qsize())]
        assert wait(ends, timeout=SOON).not_done == set()


def test_a_call_that_comes_just_when_the_pool_ends_is_refused(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_add_thread", pool.shutdown)
    with pytest.raises(ExecutorShutDownError):
        pool.submit(len, {}, "x")


def test_a_pool_lives_again_while_calls_of_its_first_life_still_run(pool: ThreadPoolExecutor) -> None:
    held = Held(pool)
    pool.shutdown(block=False)
    pool.start()
    both = [Held(pool), Held(pool)]
    held.release.set()
    assert held.future.result(timeout=SOON) == "released"
    for each in both:
        each.release.set()
        assert each.future.result(timeout=SOON) == "released"


def test_a_pool_is_started_once(pool: ThreadPoolExecutor) -> None:
    with pytest.raises(ConfigurationError, match="'pool' is running already"):
        pool.start()


# -- frugality --------------------------------------------------------------------------------------------------------


def test_threads_are_started_when_they_are_needed(pool: ThreadPoolExecutor) -> None:
    def mine() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("pool_")]

    assert mine() == []
    pool.submit(len, {}, "x").result(timeout=SOON)
    assert mine() == ["pool_0"]


def test_where_no_thread_can_be_started_those_that_there_are_do(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            pool.submit(len, {}, "x")
    pool.submit(len, {}, "x").result(timeout=SOON)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="parsl"):
        patch.setattr(threading.Thread, "start", refuse)
        assert pool.submit(len, {}, "abc").result(timeout=SOON) == 3
    assert "goes on with 1 threads" in caplog.text


def test_idle_threads_keep_nothing_alive(pool: ThreadPoolExecutor) -> None:
    class Big: ...

    big, gone = Big(), threading.Event()
    weakref.finalize(big, gone.set)
    future = pool.submit(lambda x: x, {}, big)
    assert future.result(timeout=SOON) is big
    del future, big
    gc.collect()
    assert gone.wait(SOON)


def test_nothing_is_sampled(pool: ThreadPoolExecutor) -> None:
    assert pool.monitor_resources() is False


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"label": 3}, {"max_threads": "2"}, {"max_threads": 1.5}, {"thread_name_prefix": 1}, {"working_dir": 7}, {"x": 1}],
    ids=str,
)
def test_wrong_types(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        ThreadPoolExecutor(**options)


@pytest.mark.parametrize("number", [0, -1])
def test_at_least_one_thread(number: int) -> None:
    with pytest.raises(ValueError, match="'max_threads' must be at least 1"):
        ThreadPoolExecutor(max_threads=number)


def test_repr_is_the_call_that_makes_it() -> None:
    pool = ThreadPoolExecutor(label="a", max_threads=3, working_dir="/w")
    again = eval(repr(pool))
    assert repr(again) == repr(pool)
    assert (again.label, again.max_threads, again.working_dir) == ("a", 3, "/w")
