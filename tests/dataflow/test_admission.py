"""Back-pressure: the counter by itself, and a kernel that holds its submitters back."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from pathlib import Path

import pytest

import parsl
from parsl import File, join_app, python_app
from parsl.config import Config
from parsl.dataflow.admission import Admission, exempt_this_thread
from parsl.errors import ConfigurationError, NoDataFlowKernelError
from tests.kernels import SOON, loaded, threads_config


class Submitter(threading.Thread):
    """Enters as often as it is told to, and counts."""

    def __init__(self, admission: Admission, times: int) -> None:
        super().__init__(name="submitter")
        self.admission, self.times, self.entered = admission, times, threading.Semaphore(0)

    def run(self) -> None:
        for _ in range(self.times):
            self.admission.enter()
            self.entered.release()


@pytest.fixture
def gate():
    """An app that holds until the event is set."""
    event = threading.Event()
    yield event
    event.set()


# -- the counter ------------------------------------------------------------------------------------------------------


def test_enters_up_to_the_limit_and_then_waits():
    admission = Admission(2)
    submitter = Submitter(admission, 3)
    submitter.start()
    assert submitter.entered.acquire(timeout=SOON)
    assert submitter.entered.acquire(timeout=SOON)
    assert not submitter.entered.acquire(timeout=0.05)
    admission.leave()
    assert submitter.entered.acquire(timeout=SOON)
    submitter.join(SOON)
    assert admission.open == 2


def test_a_submitter_that_waited_goes_on_at_an_eighth_below_the_limit():
    admission = Admission(16)
    for _ in range(16):
        admission.enter()
    submitter = Submitter(admission, 1)
    submitter.start()
    admission.leave()
    assert not submitter.entered.acquire(timeout=0.05)
    admission.leave()
    assert submitter.entered.acquire(timeout=SOON)
    submitter.join(SOON)


def test_threads_that_run_tasks_are_not_held_back():
    admission = Admission(1)
    admission.enter()
    admission.enter(wait=False)

    def task() -> None:
        exempt_this_thread()
        admission.enter()

    thread = threading.Thread(target=task, name="task")
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()
    assert admission.open == 3


def test_closing_lets_everybody_go():
    admission = Admission(1)
    admission.enter()
    submitter = Submitter(admission, 1)
    submitter.start()
    admission.close()
    submitter.join(SOON)
    assert not submitter.is_alive()


def test_room_suspends_the_coroutine_and_not_its_loop():
    admission = Admission(1)
    admission.enter()

    async def main() -> list[str]:
        said: list[str] = []

        async def submit(name: str) -> None:
            await admission.room()
            admission.enter()
            said.append(name)

        waiting = [asyncio.ensure_future(submit(name)) for name in "ab"]
        await asyncio.sleep(0)
        said.append("others run")
        admission.leave()
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=SOON)
        assert len(done) == 1
        admission.leave()
        await asyncio.wait_for(asyncio.gather(*waiting), SOON)
        return said

    said = asyncio.run(main())
    assert said[0] == "others run"
    assert sorted(said[1:]) == ["a", "b"]


def test_a_coroutine_whose_loop_is_gone_is_nobody_s_business():
    admission = Admission(1)
    admission.enter()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(admission.room())
    loop.run_until_complete(asyncio.sleep(0))
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    admission.leave()
    assert admission.open == 0


# -- kernels ----------------------------------------------------------------------------------------------------------


@python_app
def wait_for(event: threading.Event) -> None:
    assert event.wait(SOON)


@python_app
def nothing(x: int) -> int:
    return x


@join_app
def fan(n: int) -> list[object]:
    return [nothing(i) for i in range(n)]


def test_a_limit_below_one_is_refused():
    with pytest.raises(ConfigurationError, match=r"max_outstanding.*at least 1.*0"):
        Config(max_outstanding=0)


def test_a_call_waits_while_too_many_tasks_are_open(tmp_path: Path, gate: threading.Event):
    with loaded(tmp_path, max_outstanding=2) as kernel:
        futures = [wait_for(gate), wait_for(gate)]
        third = threading.Thread(target=lambda: futures.append(nothing(3)), name="third")
        third.start()
        third.join(0.05)
        assert third.is_alive()
        gate.set()
        third.join(SOON)
        assert futures[2].result(timeout=SOON) == 3
        kernel.wait_for_current_tasks()
        assert kernel._admission is not None
        assert kernel._admission.open == 0


def test_calls_that_tasks_make_never_wait_so_a_join_app_cannot_stop_itself(tmp_path: Path):
    with loaded(tmp_path, max_outstanding=1):
        assert fan(20).result(timeout=SOON) == list(range(20))


def test_a_call_that_was_refused_takes_no_room(tmp_path: Path):
    with loaded(tmp_path, max_outstanding=1) as kernel:
        with pytest.raises(ValueError, match="nowhere"):
            python_app(lambda: 1, executors=["nowhere"])()
        assert nothing(1).result(timeout=SOON) == 1
        kernel.wait_for_current_tasks()
        assert nothing(2).result(timeout=SOON) == 2


def test_calls_that_are_answered_from_memory_take_no_room(tmp_path: Path):
    same = python_app(lambda x: x, cache=True)
    with loaded(tmp_path, max_outstanding=1) as kernel:
        assert [same(3).result(timeout=SOON) for _ in range(5)] == [3] * 5
        kernel.wait_for_current_tasks()
        assert kernel._admission.open == 0


def test_a_call_whose_file_has_no_way_to_come_takes_no_room(tmp_path: Path):
    with loaded(tmp_path, max_outstanding=1) as kernel:
        for _ in range(3):
            with pytest.raises(ValueError, match="gopher"):
                nothing(File("gopher://host/file"))
        assert nothing(1).result(timeout=SOON) == 1
        kernel.loop.call(lambda: None)
        assert kernel._admission.open == 0


def test_cleanup_releases_a_submitter_that_waits(tmp_path: Path, gate: threading.Event):
    kernel = parsl.load(threads_config(tmp_path, max_outstanding=1))
    first = wait_for(gate)
    raised: list[BaseException] = []

    def submit() -> None:
        try:
            nothing(2)
        except NoDataFlowKernelError as e:
            raised.append(e)

    second = threading.Thread(target=submit, name="second")
    second.start()
    second.join(0.05)
    assert second.is_alive()
    kernel.cleanup()
    second.join(SOON)
    assert not second.is_alive()
    assert len(raised) == 1
    gate.set()
    assert first.exception(timeout=SOON) is not None


def test_a_coroutine_can_wait_for_room(tmp_path: Path):
    async def main() -> int:
        total = 0
        for i in range(50):
            await parsl.dfk().room()
            total += await nothing(i)
        return total

    with loaded(tmp_path, max_outstanding=1):
        assert asyncio.run(main()) == sum(range(50))


def test_a_kernel_without_a_limit_always_has_room(tmp_path: Path):
    with loaded(tmp_path):
        asyncio.run(parsl.dfk().room())


def test_an_endless_generator_needs_no_more_memory_than_the_limit(tmp_path: Path):
    def peak_of(calls: int) -> int:
        tracemalloc.reset_peak()
        for i in range(calls):
            nothing(i)
        parsl.wait_for_current_tasks()
        return tracemalloc.get_traced_memory()[1]

    with loaded(tmp_path, max_outstanding=100):
        # A full collection comes when a quarter of what has survived the last one is new: what other tests have left
        # here must not count, or it comes late.
        gc.freeze()
        gc.collect()
        tracemalloc.start()
        try:
            peak_of(200)
            few, many = peak_of(1000), peak_of(20_000)
        finally:
            tracemalloc.stop()
            gc.unfreeze()
    # Records that wait for the garbage collector come to a fraction of that; 20,000 open tasks take 16 MB.
    assert many - few < 4_000_000
