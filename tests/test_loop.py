"""Loop: one thread that owns state, and the door into it."""

from __future__ import annotations

import socket
import threading
from queue import SimpleQueue
from typing import Any

import pytest

from parsl.loop import Loop, LoopClosedError
from tests.loops import SOON, ended, settled

# -- posting ----------------------------------------------------------------------------------------------------------


def test_posts_from_many_threads_all_arrive_each_threads_in_order(loop: Loop) -> None:
    seen: list[tuple[int, int]] = []

    def post(who: int) -> None:
        for i in range(2000):
            loop.post(seen.append, (who, i))

    threads = [threading.Thread(target=post, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    settled(loop)
    assert len(seen) == 12_000
    for who in range(6):
        assert [i for w, i in seen if w == who] == list(range(2000))


def test_no_wake_up_is_lost(loop: Loop) -> None:
    """The loop falls asleep between any two of these, so each wakes it anew."""
    answers: SimpleQueue[int] = SimpleQueue()
    for i in range(3000):
        loop.post(answers.put, i)
        assert answers.get(timeout=SOON) == i


def test_a_post_just_before_the_loop_falls_asleep_is_not_left_lying() -> None:
    """The poster has appended, and not seen the flag that the loop sets next: it wakes nobody."""
    called = threading.Event()

    class Drowsy(Loop):
        asleep = False

        @property
        def _sleeping(self) -> bool:
            return self.asleep

        @_sleeping.setter
        def _sleeping(self, value: bool) -> None:
            if value and not called.is_set():
                self._inbox.append((called.set, ()))
            self.asleep = value

    loop = Drowsy()
    loop.start()
    assert called.wait(SOON)
    ended(loop)


def test_two_loops_that_wake_each_other(loop: Loop) -> None:
    other = Loop("the other")
    other.start()
    done = threading.Event()

    def hop(left: int, here: Loop, there: Loop) -> None:
        if left:
            there.post(hop, left - 1, there, here)
        else:
            done.set()

    loop.post(hop, 2000, loop, other)
    assert done.wait(SOON)
    ended(other)


def test_what_is_posted_on_the_loop_comes_after_what_was_posted_before(loop: Loop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.post(seen.append, "inner")
        seen.append("first")

    loop.call(lambda: (loop.post(first), loop.post(seen.append, "second")))
    settled(loop)
    settled(loop)
    assert seen == ["first", "second", "inner"]


def test_a_burst_is_handled_in_slices_and_what_it_makes_goes_out_between_them(loop: Loop) -> None:
    handled, sent = [], []
    loop.call(loop.at_pass_end, lambda: sent.append(len(handled)))
    loop.call(lambda: [loop.post(handled.append, i) for i in range(2000)])
    settled(loop)
    assert handled == list(range(2000))
    between = sorted(set(sent) - {0})
    assert len(between) >= 4
    assert between[0] < 1000


def test_exceptions_are_logged_and_end_nothing(
    loop: Loop, pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(where: str) -> None:
        raise ValueError(f"no good {where}")

    def fail_reading() -> None:
        pair[0].recv(1)
        fail("reading")

    def fail_once() -> None:
        loop.remove_hook(fail_once)
        fail("hook")

    loop.post(fail, "post")
    loop.call(loop.call_later, 0, fail, "timer")
    loop.call(loop.add_reader, pair[0], fail_reading)
    pair[1].send(b"x")
    loop.call(loop.at_pass_end, fail_once)
    done = threading.Event()
    loop.call(loop.call_later, 0.02, done.set)
    assert done.wait(SOON)
    loop.call(loop.remove_reader, pair[0])
    told = {str(r.exc_info[1]) for r in caplog.records if r.name == "parsl.loop" and r.exc_info}
    assert told == {f"no good {where}" for where in ("post", "timer", "reading", "hook")}


def test_an_idle_loop_makes_no_pass() -> None:
    loop = Loop()
    passes: list[None] = []
    done = threading.Event()
    loop.at_pass_end(lambda: passes.append(None))
    loop.call_later(0.3, done.set)
    loop.start()
    assert done.wait(SOON)
    ended(loop)
    assert len(passes) <= 4


# -- calling and asking -----------------------------------------------------------------------------------------------


def test_call_runs_on_the_loop_and_returns_the_result(loop: Loop) -> None:
    assert not loop.on_loop()
    assert loop.call(lambda a, b: (a, b, loop.on_loop(), threading.current_thread().name), 1, 2) == (
        1,
        2,
        True,
        "loop-under-test",
    )


def test_call_from_the_loop_itself_is_made_at_once(loop: Loop) -> None:
    assert loop.call(lambda: loop.call(lambda: loop.call(lambda: "inner"))) == "inner"


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_what_a_call_raises_is_raised_to_the_caller(loop: Loop, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        loop.call(fail)
    assert raised.value is error
    assert loop.call(lambda: "still there") == "still there"


def test_calls_from_many_threads(loop: Loop) -> None:
    results: SimpleQueue[tuple[int, int]] = SimpleQueue()

    def work(n: int) -> None:
        for i in range(200):
            results.put((n * i, loop.call(lambda a, b: a * b, n, i)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert all(a == b for a, b in (results.get(timeout=SOON) for _ in range(1000)))


def test_ask_waits_for_an_answer_that_comes_later_and_from_elsewhere(loop: Loop) -> None:
    answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    asked = threading.Event()
    answerer = threading.Thread(target=lambda: asked.wait(SOON) and answers.put((True, "late")))
    answerer.start()
    assert loop.ask(asked.set, answers) == "late"
    answerer.join(SOON)


def test_ask_hands_over_a_bad_answer_and_the_failure_of_the_question(loop: Loop) -> None:
    answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    with pytest.raises(LookupError, match="bad"):
        loop.ask(lambda: answers.put((False, LookupError("bad"))), answers)
    with pytest.raises(ZeroDivisionError):
        loop.ask(lambda: 1 / 0, SimpleQueue())


def test_an_ended_loop_refuses_calls_and_drops_posts() -> None:
    loop = Loop("past")
    loop.start()
    ended(loop)
    with pytest.raises(LoopClosedError, match="past has ended"):
        loop.call(print)
    with pytest.raises(LoopClosedError):
        loop.ask(print, SimpleQueue())
    called: list[int] = []
    loop.post(called.append, 1)
    loop.stop()
    assert loop.join(SOON)
    assert called == []


def test_who_waits_for_an_answer_is_told_of_the_end() -> None:
    loop = Loop("going")
    loop.start()
    asked = threading.Event()
    got: SimpleQueue[BaseException] = SimpleQueue()

    def ask() -> None:
        try:
            loop.ask(asked.set, SimpleQueue())
        except LoopClosedError as e:
            got.put(e)

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(SOON)
    ended(loop)
    assert "going has ended" in str(got.get(timeout=SOON))
    thread.join(SOON)


def test_callers_racing_with_the_end_all_come_back() -> None:
    """A call is made, or refused; none waits for ever."""
    for _ in range(30):
        loop = Loop()
        loop.start()
        begin = threading.Barrier(5)
        ends: SimpleQueue[str] = SimpleQueue()

        def call(loop: Loop = loop, begin: threading.Barrier = begin, ends: SimpleQueue[str] = ends) -> None:
            begin.wait(SOON)
            try:
                while True:
                    loop.call(lambda: None)
            except LoopClosedError:
                ends.put("refused")

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        begin.wait(SOON)
        ended(loop)
        assert [ends.get(timeout=SOON) for _ in threads] == ["refused"] * 4
        for thread in threads:
            thread.join(SOON)


# -- life -------------------------------------------------------------------------------------------------------------


def test_what_was_posted_before_stop_is_still_done() -> None:
    loop = Loop()
    seen: list[int] = []
    for i in range(1000):
        loop.post(seen.append, i)
    loop.stop()
    loop.start()
    assert loop.join(SOON)
    assert seen == list(range(1000))


def test_stop_from_the_loop_itself_and_twice() -> None:
    loop = Loop()
    loop.start()
    loop.call(loop.stop)
    loop.stop()
    assert loop.join(SOON)


def test_join_tells_when_the_loop_has_not_ended() -> None:
    loop = Loop()
    loop.start()
    go_on, begun = threading.Event(), threading.Event()
    loop.post(lambda: (begun.set(), go_on.wait(SOON)))
    assert begun.wait(SOON)
    loop.stop()
    assert loop.join(0.01) is False
    go_on.set()
    assert loop.join(SOON) is True


def test_join_on_the_loop_does_not_wait_for_itself(loop: Loop) -> None:
    assert loop.call(loop.join) is True


def test_a_loop_may_run_in_the_calling_thread() -> None:
    loop = Loop()
    where: list[Any] = []
    loop.post(lambda: where.append((threading.current_thread(), loop.on_loop())))
    loop.stop()
    loop.run()
    assert where == [(threading.current_thread(), True)]
    assert not loop.on_loop()


def test_the_end_of_the_program_ends_a_loop_that_is_the_program() -> None:
    """A signal's exception arrives in whatever the main thread does, which may be a callback."""
    loop = Loop()

    def interrupted() -> None:
        raise KeyboardInterrupt

    loop.post(interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    with pytest.raises(LoopClosedError):
        loop.call(print)
