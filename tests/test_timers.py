from __future__ import annotations

import logging
import threading
import time

import pytest

from parsl.utils import AutoCancelTimer, Timer


def test_auto_cancel_timer_fires_inside_a_long_block() -> None:
    fired = threading.Event()
    with AutoCancelTimer(0.001, fired.set) as timer:
        assert isinstance(timer, threading.Timer)
        assert fired.wait(10)
    timer.join(10)


def test_auto_cancel_timer_does_not_fire_after_the_block() -> None:
    fired = threading.Event()
    with AutoCancelTimer(60, fired.set) as timer:
        assert timer.is_alive()
    timer.join(10)
    assert not timer.is_alive()
    assert not fired.is_set()


def test_auto_cancel_timer_is_cancelled_when_the_block_raises() -> None:
    timer = AutoCancelTimer(60, lambda: None)
    with pytest.raises(KeyError), timer:
        raise KeyError
    timer.join(10)
    assert not timer.is_alive()


def test_timer_calls_with_its_arguments_until_closed() -> None:
    calls: list[tuple[object, ...]] = []
    enough = threading.Event()

    def callback(*args: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            enough.set()

    timer = Timer(callback, 1, "two", interval=0.001, name="beat")
    assert enough.wait(10)
    timer.close()
    count = len(calls)
    assert calls[:3] == [(1, "two")] * 3
    assert "beat" not in [thread.name for thread in threading.enumerate()]
    assert len(calls) == count


def test_timer_makes_its_first_call_after_one_interval() -> None:
    called = threading.Event()
    begin = time.monotonic()
    timer = Timer(called.set, interval=0.05)
    assert called.wait(10)
    assert time.monotonic() - begin >= 0.05
    timer.close()


def test_timer_closes_at_once_however_long_its_interval() -> None:
    timer = Timer(lambda: None, interval=3600)
    begin = time.monotonic()
    timer.close()
    timer.close()
    assert time.monotonic() - begin < 5


def test_timer_thread_is_a_daemon() -> None:
    timer = Timer(lambda: None, interval=3600, name="as a daemon")
    (thread,) = [each for each in threading.enumerate() if each.name == "as a daemon"]
    assert thread.daemon
    timer.close()


def test_timer_survives_a_failing_callback_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[None] = []
    twice = threading.Event()

    def callback() -> None:
        calls.append(None)
        if len(calls) == 2:
            twice.set()
        raise ValueError("bad beat")

    with caplog.at_level(logging.ERROR, logger="parsl.timers"):
        timer = Timer(callback, interval=0.001)
        assert twice.wait(10)
        timer.close()
    assert "bad beat" in caplog.text


def test_timer_closed_from_its_own_callback_ends() -> None:
    ready, closed = threading.Event(), threading.Event()

    def callback() -> None:
        assert ready.wait(10)
        timer.close()
        closed.set()

    timer = Timer(callback, interval=0.001)
    ready.set()
    assert closed.wait(10)
    timer.close()


def test_closing_waits_no_longer_than_asked_for_a_call_under_way() -> None:
    begun, release = threading.Event(), threading.Event()

    def callback() -> None:
        begun.set()
        release.wait(10)

    timer = Timer(callback, interval=0.001, name="slow")
    assert begun.wait(10)
    timer.close(timeout=0.01)
    assert "slow" in [thread.name for thread in threading.enumerate()]
    release.set()
    timer.close()


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
def test_timer_refuses_an_interval_that_is_no_time(interval: float) -> None:
    with pytest.raises(ValueError, match="interval must be over 0"):
        Timer(lambda: None, interval=interval)


def test_make_callback_can_be_called_by_hand_and_overridden() -> None:
    calls: list[str] = []

    class Loud(Timer):
        def make_callback(self) -> None:
            calls.append("before")
            super().make_callback()

    timer = Loud(calls.append, "call", interval=3600)
    timer.make_callback()
    timer.close()
    assert calls == ["before", "call"]
