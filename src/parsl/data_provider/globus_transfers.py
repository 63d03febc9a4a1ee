"""The transfers of a kernel that Globus makes: one thread follows them all, however many and however long.

The service does not call back; it is asked for the state of all open transfers in one request, at intervals that grow
while nothing changes.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, Protocol

from parsl.data_provider.transfer import TransferError

logger = logging.getLogger(__name__)

FIRST_PERIOD_S = 1.0
"""Seconds until transfers are asked after for the first time."""

LAST_PERIOD_S = 30.0
"""Seconds between two such questions, when transfers take long."""

MOST_SILENCE_S = 1800.0
"""Seconds for which the service may not answer before the open transfers are given up."""

CLOSING_S = 15.0
"""Seconds that a cleanup waits for the service to cancel what is open."""

PAGE = 50
"""How many transfers one question names at most."""

# Globus retries for days what a person could put right. These are certain to stay as they are.
_HOPELESS = frozenset({"FILE_NOT_FOUND", "PERMISSION_DENIED", "NOT_A_FILE", "QUOTA_EXCEEDED", "NO_SPACE_LEFT"})


@dataclass(frozen=True)
class GlobusRequest:
    """A file to copy.

    Attributes:
        source: the collection that has it.
        source_path: its path there.
        target: the collection that gets it.
        target_path: its path there.
        label: what and for whom, in words.
    """

    source: str
    source_path: str
    target: str
    target_path: str
    label: str


class GlobusService(Protocol):
    """What is asked of the transfer service."""

    def submit(self, request: GlobusRequest) -> str:
        """Ask for a transfer; return its id."""

    def documents(self, task_ids: Sequence[str]) -> Iterable[Mapping[str, Any]]:
        """Return the service's documents about transfers, of which there are at most `PAGE`."""

    def cancel(self, task_id: str) -> None:
        """Cancel a transfer; one that has ended is left as it is."""


def verdict(task: Mapping[str, Any]) -> str | None:
    """Judge a transfer by the service's document about it.

    Args:
        task: the document.

    Returns:
        "" when the file has arrived, a sentence when it never will, None while that is open.
    """
    status, nice = task["status"], task.get("nice_status") or ""
    details = task.get("nice_status_short_description") or nice
    if status == "SUCCEEDED":
        return ""
    if status == "FAILED":
        fatal = task.get("fatal_error") or {}
        return f"Globus task {task['task_id']} failed: {fatal.get('description') or details or 'no reason given'}"
    if status == "INACTIVE":
        return f"Globus task {task['task_id']} was suspended, as a login or consent has run out ({details})"
    return f"Globus task {task['task_id']} meets {nice} ({details})" if nice in _HOPELESS else None


class GlobusTransfers:
    """Asks Globus for transfers, and settles a future for each.

    Args:
        service: the transfer service.
    """

    def __init__(self, service: GlobusService) -> None:
        self._service = service
        self._news = threading.Condition()
        self._fresh: list[tuple[GlobusRequest, Future[None]]] = []
        self._open: dict[str, tuple[GlobusRequest, Future[None]]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, request: GlobusRequest, after: Future[Any] | None = None) -> Future[None]:
        """Have a file copied.

        Args:
            request: the file.
            after: begin when this is done well; fail as it fails.

        Returns:
            A future that is done when the file has arrived; TransferError tells why it has not.
        """
        future: Future[None] = Future()
        if after is None:
            self._begin(request, future)
        else:
            after.add_done_callback(lambda done: self._follow(done, request, future))
        return future

    def close(self) -> None:
        """End the thread, cancel the open transfers at the service, and fail their futures.

        A service that does not answer is not waited for longer than `CLOSING_S`.
        """
        with self._news:
            self._closed = True
            self._news.notify()
            thread = self._thread
        if thread is None:
            return
        thread.join(CLOSING_S)
        if thread.is_alive():
            logger.warning("Globus has not answered within %g s; transfers may go on there", CLOSING_S)
            for request, future in [*self._open.values(), *self._fresh]:
                _fail(request, future, "the kernel was cleaned up")

    # -- on the callers' threads -----------------------------------------------------------------------------------

    def _follow(self, done: Future[Any], request: GlobusRequest, future: Future[None]) -> None:
        if done.cancelled():
            future.cancel()
        elif (error := done.exception()) is not None:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        else:
            self._begin(request, future)

    def _begin(self, request: GlobusRequest, future: Future[None]) -> None:
        with self._news:
            closed = self._closed
            if not closed:
                self._fresh.append((request, future))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="parsl-globus", daemon=True)
                    self._thread.start()
                self._news.notify()
        if closed:
            _fail(request, future, "the kernel was cleaned up")

    # -- on the thread ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Follow transfers until there are none left."""
        period, silent = FIRST_PERIOD_S, 0.0
        while True:
            with self._news:
                if not (self._closed or self._fresh):
                    self._news.wait(period)
                fresh, self._fresh = self._fresh, []
                if self._closed or not (fresh or self._open):
                    self._thread = None
                    break
            for request, future in fresh:
                self._ask_for(request, future)
            try:
                ended = self._ask_after()
            except Exception as e:  # noqa: BLE001 - of the library, the network or the service
                if not silent:
                    logger.warning("Globus did not tell about %d transfers; it is asked again: %s", len(self._open), e)
                silent += period
                if silent > MOST_SILENCE_S:
                    self._give_up(f"the service was silent for {silent:g} s; the last word was: {e}")
                ended = False
            else:
                silent = 0.0
            period = FIRST_PERIOD_S if fresh or ended else min(period * 1.5, LAST_PERIOD_S)
        for request, future in fresh:
            _fail(request, future, "the kernel was cleaned up")
        self._give_up("the kernel was cleaned up")

    def _ask_for(self, request: GlobusRequest, future: Future[None]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            task_id = self._service.submit(request)
        except Exception as e:  # noqa: BLE001 - of the library, the network or the service
            _fail(request, future, f"{type(e).__name__}: {e}", e)
        else:
            self._open[task_id] = (request, future)

    def _ask_after(self) -> bool:
        """Ask for the state of the open transfers; tell whether any has ended."""
        before = len(self._open)
        for page in _pages(list(self._open)):
            for task in self._service.documents(page):
                reason = verdict(task)
                if reason is not None and task["task_id"] in self._open:
                    request, future = self._open.pop(task["task_id"])
                    if not reason:
                        future.set_result(None)
                        continue
                    self._cancel(task["task_id"])
                    _fail(request, future, reason)
        return len(self._open) < before

    def _give_up(self, reason: str) -> None:
        """Fail what is open."""
        while self._open:
            task_id, (request, future) = self._open.popitem()
            self._cancel(task_id)
            _fail(request, future, reason)

    def _cancel(self, task_id: str) -> None:
        try:
            self._service.cancel(task_id)
        except Exception as e:  # noqa: BLE001 - of the library, the network or the service
            logger.info("Globus task %s was not cancelled: %s", task_id, e)


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), PAGE):
        yield ids[start : start + PAGE]


def _fail(request: GlobusRequest, future: Future[None], reason: str, cause: BaseException | None = None) -> None:
    error = TransferError(f"GlobusStaging: {request.label}", socket.gethostname(), 1, reason)
    error.__cause__ = cause
    with contextlib.suppress(InvalidStateError, CancelledError):  # cancelled by its owner meanwhile
        future.set_exception(error)
