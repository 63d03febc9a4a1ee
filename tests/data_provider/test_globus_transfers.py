"""What follows the transfers of Globus, turned by a fake client; and the judgement of the service's documents."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from parsl.data_provider import globus_transfers
from parsl.data_provider.globus_transfers import GlobusRequest, GlobusTransfers, verdict
from parsl.data_provider.transfer import TransferError
from tests.kernels import SOON


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "SUCCEEDED"}, ""),
        ({"status": "ACTIVE", "nice_status": "OK"}, None),
        ({"status": "ACTIVE", "nice_status": "Queued"}, None),
        ({"status": "ACTIVE", "nice_status": "CONNECTION_RESET"}, None),
        ({"status": "ACTIVE", "nice_status": None}, None),
        (
            {"status": "ACTIVE", "nice_status": "FILE_NOT_FOUND", "nice_status_short_description": "file not found"},
            "Globus task t meets FILE_NOT_FOUND (file not found)",
        ),
        ({"status": "FAILED", "fatal_error": {"description": "deadline"}}, "Globus task t failed: deadline"),
        ({"status": "FAILED", "fatal_error": None}, "Globus task t failed: no reason given"),
        (
            {"status": "INACTIVE", "nice_status": "CREDENTIALS_EXPIRED"},
            "Globus task t was suspended, as a login or consent has run out (CREDENTIALS_EXPIRED)",
        ),
    ],
)
def test_verdict(document: dict[str, Any], expected: str | None) -> None:
    assert verdict({"task_id": "t", **document}) == expected


REQUEST = GlobusRequest("a", "/x", "b", "/y", "globus://a/x for task 1 (f)")


class Client:
    """Does what the transfer service does, from a list of answers."""

    def __init__(self) -> None:
        self.submitted: list[Any] = []
        self.cancelled: list[str] = []
        self.questions: list[list[str]] = []
        self.known: dict[str, dict[str, Any]] = {}
        self.errors: list[Exception] = []
        self.asked = threading.Semaphore(0)
        self.threads: set[str] = set()

    def submit(self, request: GlobusRequest) -> str:
        self.threads.add(threading.current_thread().name)
        if self.errors:
            raise self.errors.pop(0)
        self.submitted.append(request)
        task_id = f"t{len(self.submitted)}"
        self.known.setdefault(task_id, {"task_id": task_id, "status": "ACTIVE"})
        return task_id

    def documents(self, task_ids: Sequence[str]) -> list[dict[str, Any]]:
        self.asked.release()
        self.questions.append(list(task_ids))
        if self.errors:
            raise self.errors.pop(0)
        return [self.known[task_id] for task_id in task_ids]

    def cancel(self, task_id: str) -> None:
        self.cancelled.append(task_id)

    def end(self, task_id: str, **fields: Any) -> None:
        self.known[task_id] = {"task_id": task_id, "status": "SUCCEEDED", **fields}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(globus_transfers, "FIRST_PERIOD_S", 0.01)
    monkeypatch.setattr(globus_transfers, "LAST_PERIOD_S", 0.02)
    return Client()


def asked_again(client: Client) -> None:
    """Wait until the service has been asked, from now on, and has answered."""
    while client.asked.acquire(blocking=False):
        pass
    for _ in range(2):
        assert client.asked.acquire(timeout=SOON)


def test_many_transfers_take_one_thread_and_few_questions(client: Client) -> None:
    transfers = GlobusTransfers(client)
    futures = [transfers.submit(REQUEST) for _ in range(120)]
    while len(client.submitted) < 120:
        asked_again(client)
    asked_again(client)
    assert not any(future.done() for future in futures)
    assert [len(q) for q in client.questions[-6:]].count(50) >= 2
    for i in range(120):
        client.end(f"t{i + 1}")
    assert [future.result(timeout=SOON) for future in futures] == [None] * 120
    assert client.threads == {"parsl-globus"}
    transfers.close()


def test_the_thread_ends_when_there_is_nothing_to_follow(client: Client) -> None:
    transfers = GlobusTransfers(client)
    for number in ("t1", "t2"):
        client.end(number)
        thread_before = {t for t in threading.enumerate() if t.name == "parsl-globus"}
        transfers.submit(REQUEST).result(timeout=SOON)
        for thread in {t for t in threading.enumerate() if t.name == "parsl-globus"} | thread_before:
            thread.join(SOON)
            assert not thread.is_alive()


def test_a_transfer_that_failed(client: Client) -> None:
    client.end("t1", status="FAILED", fatal_error={"description": "the deadline is over"})
    error = GlobusTransfers(client).submit(REQUEST).exception(timeout=SOON)
    assert isinstance(error, TransferError)
    assert "GlobusStaging: globus://a/x for task 1 (f)" in str(error)
    assert "the deadline is over" in str(error)


def test_a_hopeless_transfer_is_cancelled(client: Client) -> None:
    client.end("t1", status="ACTIVE", nice_status="FILE_NOT_FOUND")
    assert "FILE_NOT_FOUND" in str(GlobusTransfers(client).submit(REQUEST).exception(timeout=SOON))
    assert client.cancelled == ["t1"]


def test_a_request_that_is_refused(client: Client) -> None:
    client.errors.append(RuntimeError("no such collection"))
    error = GlobusTransfers(client).submit(REQUEST).exception(timeout=SOON)
    assert "RuntimeError: no such collection" in str(error)
    assert isinstance(error, TransferError)
    assert isinstance(error.__cause__, RuntimeError)


def test_a_service_that_is_away_for_a_while(client: Client) -> None:
    transfers = GlobusTransfers(client)
    future = transfers.submit(REQUEST)
    asked_again(client)
    client.errors += [ConnectionError("away")] * 3
    asked_again(client)
    asked_again(client)
    client.end("t1")
    assert future.result(timeout=SOON) is None


def test_a_service_that_stays_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globus_transfers, "MOST_SILENCE_S", 0.05)
    transfers = GlobusTransfers(client)
    future = transfers.submit(REQUEST)
    asked_again(client)
    client.errors += [ConnectionError("away")] * 1000
    assert "the last word was: away" in str(future.exception(timeout=SOON))


def test_a_transfer_waits_for_the_producer(client: Client) -> None:
    transfers = GlobusTransfers(client)
    producer: Future[int] = Future()
    future = transfers.submit(REQUEST, after=producer)
    assert client.submitted == []
    client.end("t1")
    producer.set_result(1)
    assert future.result(timeout=SOON) is None


def test_a_producer_that_failed_or_was_cancelled(client: Client) -> None:
    transfers = GlobusTransfers(client)
    failed: Future[int] = Future()
    cancelled: Future[int] = Future()
    futures = [transfers.submit(REQUEST, after=producer) for producer in (failed, cancelled)]
    failed.set_exception(error := ValueError("bad"))
    cancelled.cancel()
    assert futures[0].exception(timeout=0) is error
    assert futures[1].cancelled()
    assert client.submitted == []


def test_a_transfer_that_is_cancelled_before_it_began(client: Client) -> None:
    transfers = GlobusTransfers(client)
    producer: Future[int] = Future()
    future = transfers.submit(REQUEST, after=producer)
    assert future.cancel()
    producer.set_result(1)
    with pytest.raises(CancelledError):
        future.result(timeout=0)
    client.end("t1")
    assert transfers.submit(REQUEST).result(timeout=SOON) is None
    assert len(client.submitted) == 1


def test_closing_does_not_wait_for_a_service_that_hangs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globus_transfers, "CLOSING_S", 0.05)
    hanging, go_on = threading.Event(), threading.Event()

    def hang(task_ids: Sequence[str]) -> list[dict[str, Any]]:
        hanging.set()
        assert go_on.wait(SOON)
        return []

    client.documents = hang  # type: ignore[method-assign]
    transfers = GlobusTransfers(client)
    future = transfers.submit(REQUEST)
    assert hanging.wait(SOON)
    (thread,) = [t for t in threading.enumerate() if t.name == "parsl-globus"]
    transfers.close()
    assert "cleaned up" in str(future.exception(timeout=0))
    go_on.set()
    thread.join(SOON)
    assert client.cancelled == ["t1"]


def test_closing_fails_and_cancels_what_is_open(client: Client) -> None:
    transfers = GlobusTransfers(client)
    producer: Future[int] = Future()
    future, late = transfers.submit(REQUEST), transfers.submit(REQUEST, after=producer)
    asked_again(client)
    transfers.close()
    assert "cleaned up" in str(future.exception(timeout=0))
    assert client.cancelled == ["t1"]
    producer.set_result(1)
    assert "cleaned up" in str(late.exception(timeout=0))
    transfers.close()
