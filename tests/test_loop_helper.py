"""Helper: the thread for what may block or belongs to the user."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from parsl.loop import Helper

SOON = 10.0  # seconds that nothing here takes, unless it is broken


def helpers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "helper-under-test"]


@pytest.fixture
def helper() -> Iterator[Helper]:
    helper = Helper("helper-under-test")
    yield helper
    assert helper.close(SOON)


def test_the_helper_has_no_thread_before_it_has_work(helper: Helper) -> None:
    assert helpers() == []
    assert helper.close() is True
    helper.post(len, "")
    assert len(helpers()) == 1


def test_the_helper_works_in_order_and_close_waits_for_all(helper: Helper) -> None:
    seen: list[int] = []
    for i in range(500):
        helper.post(seen.append, i)
    assert helper.close(SOON)
    assert seen == list(range(500))
    assert helpers() == []


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=["Exception", "SystemExit"])
def test_a_failing_call_is_logged_and_the_next_is_made(
    helper: Helper, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        raise error

    with caplog.at_level(logging.ERROR, logger="parsl.loop"):
        helper.post(fail)
        helper.post(done.set)
        assert done.wait(SOON)
    assert [r.exc_info[1] for r in caplog.records if r.exc_info] == [error]


def test_close_gives_up_on_a_call_that_does_not_end(helper: Helper) -> None:
    begun, go_on = threading.Event(), threading.Event()
    helper.post(lambda: (begun.set(), go_on.wait(SOON)))
    assert begun.wait(SOON)
    thread = helpers()[0]
    assert helper.close(0.01) is False
    go_on.set()
    thread.join(SOON)
    assert not thread.is_alive()


def test_the_helper_may_be_closed_by_its_own_call(helper: Helper) -> None:
    closed: SimpleQueue[bool] = SimpleQueue()
    helper.post(lambda: closed.put(helper.close()))
    assert closed.get(timeout=SOON) is True


def test_without_a_new_thread_the_poster_makes_the_call_itself(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter shuts down no thread can be started."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    seen: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        helper.post(lambda: seen.append(threading.current_thread()))
        helper.post(lambda: seen.append("second"))
    assert seen == [threading.current_thread(), "second"]
