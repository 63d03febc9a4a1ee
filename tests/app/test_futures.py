"""DataFuture: ends as its parent ends."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future, wait
from typing import Any

import pytest

from parsl.app.futures import DataFuture
from parsl.data_provider.files import File


@pytest.fixture
def parent() -> Future[Any]:
    return Future()


def test_the_result_is_the_very_file(parent: Future[Any]) -> None:
    file = File("/data/out.txt")
    future = DataFuture(parent, file, tid=4)
    assert not future.done()
    assert (future.tid, future.filepath, future.filename) == (4, "/data/out.txt", "out.txt")
    assert future.file_obj is file
    parent.set_result("anything")
    assert future.result(timeout=0) is file
    assert future.exception(timeout=0) is None


def test_a_parent_that_has_ended_before() -> None:
    parent: Future[Any] = Future()
    parent.set_result(None)
    assert DataFuture(parent, File("x")).done()


def test_the_parents_own_exception_comes_through(parent: Future[Any]) -> None:
    future = DataFuture(parent, File("x"))
    error = ValueError("bad")
    parent.set_exception(error)
    assert future.exception(timeout=0) is error
    with pytest.raises(ValueError, match="bad"):
        future.result(timeout=0)


def test_cancel_is_passed_on(parent: Future[Any]) -> None:
    future = DataFuture(parent, File("x"))
    assert not future.cancelled()
    assert future.cancel() is True
    assert parent.cancelled()
    assert future.cancelled()
    assert future.done()
    with pytest.raises(CancelledError):
        future.result(timeout=0)


def test_a_cancelled_parent_wakes_those_who_wait(parent: Future[Any]) -> None:
    future = DataFuture(parent, File("x"))
    parent.cancel()
    assert wait([future], timeout=0).done == {future}


def test_a_running_parent_cannot_be_cancelled(parent: Future[Any]) -> None:
    future = DataFuture(parent, File("x"))
    parent.set_running_or_notify_cancel()
    assert future.running()
    assert future.cancel() is False
    parent.set_result(None)
    assert not future.running()
    assert future.cancel() is False
    assert not future.cancelled()


def test_a_chain_of_data_futures(parent: Future[Any]) -> None:
    first = DataFuture(parent, File("x"))
    copy = first.file_obj.cleancopy()
    second = DataFuture(first, copy)
    parent.set_result(None)
    assert second.result(timeout=0) is copy


def test_it_can_be_awaited(parent: Future[Any]) -> None:
    file = File("x")

    async def main() -> File:
        asyncio.get_running_loop().call_soon(parent.set_result, None)
        return await DataFuture(parent, file)

    assert asyncio.run(main()) is file


def test_repr_tells_file_task_and_state(parent: Future[Any]) -> None:
    future = DataFuture(parent, File("https://example.org/x"), tid=9)
    assert "task 9" in repr(future)
    assert "https://example.org/x" in repr(future)
    assert "pending" in repr(future)
    parent.set_exception(ValueError())
    assert "failed" in repr(future)
    done: Future[Any] = Future()
    done.set_result(None)
    assert "finished" in repr(DataFuture(done, File("x")))
    cancelled: Future[Any] = Future()
    cancelled.cancel()
    assert "cancelled" in repr(DataFuture(cancelled, File("x")))


def test_the_path_of_a_remote_file_is_refused(parent: Future[Any]) -> None:
    with pytest.raises(ValueError, match="No local_path"):
        _ = DataFuture(parent, File("https://example.org/x")).filepath


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="takes a Future, not a int"):
        DataFuture(3, File("x"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes a File, not a str"):
        DataFuture(Future(), "x")  # type: ignore[arg-type]
