"""When results of a run go to its checkpoint: at once, now and then, or when somebody asks."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from parsl.dataflow.checkpoints import CheckpointWriter, pack
from parsl.timers import Timer

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"


class Saver:
    """Takes results in, and writes them to the checkpoint of a run.

    At once, a thread of its own writes all that has gathered while it wrote the last group: one wait for the disk a
    group, so that a burst of short tasks costs few of them. Otherwise results are kept, packed as they were when their
    tasks ended, until `write`.

    Args:
        run_dir: the run's own folder.
        at_once: write without being asked.
        period: seconds between two writes; None for none.
    """

    def __init__(self, run_dir: str, *, at_once: bool, period: float | None = None) -> None:
        self.folder = os.path.join(run_dir, CHECKPOINT)
        self._writer = CheckpointWriter(self.folder)
        self._writing = threading.Lock()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._at_once = at_once
        self._queue: SimpleQueue[Callable[[], object] | tuple[str, bytes | _Raw] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Results put in since the last `when_written`; for the loop alone.
        self._fresh = False
        self._closed = False
        self._timer = None if period is None else Timer(self.write, interval=period, name="parsl-checkpoint-period")

    def put_again(self, hashsum: str, result: Any) -> None:
        """Take in a result that an earlier run has saved: nobody waits for it; from any thread."""
        if self._closed:
            return
        packed = _packed(hashsum, result)
        if packed is None:
            return
        if self._at_once:
            self._send((hashsum, packed))
        else:
            self._waiting.append((hashsum, packed))

    def put_result(self, hashsum: str, result: Any) -> None:
        """Take in a result; on the loop. What comes after the end is left out: its task has been made to fail."""
        if self._closed:
            return
        if self._at_once:
            # Nobody has the result yet who could change it, so it can be packed on the other thread.
            self._fresh = True
            self._send((hashsum, _Raw(result)))
        else:
            packed = _packed(hashsum, result)
            if packed is not None:
                self._waiting.append((hashsum, packed))

    def when_written(self, then: Callable[[], object]) -> bool:
        """Have `then()` called, on the writing thread, once what has been put in by now is on disk.

        Returns:
            False when it will not be called, since nothing is on its way.
        """
        if not self._fresh:
            return False
        self._fresh = False
        self._send(then)
        return True

    def write(self) -> None:
        """Write all that has gathered, and wait until the disk has it; from any thread.

        Raises:
            OSError: when it cannot be written; it is kept for the next time.
        """
        if self._at_once:
            self.flush()
            return
        with self._writing:
            # What is put in meanwhile stays behind for the next time.
            entries = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not entries:
                logger.info("No tasks checkpointed in this pass")
                return
            try:
                self._writer.append(entries)
            except BaseException:
                self._waiting.extendleft(reversed(entries))
                raise
        logger.info("Done checkpointing %d tasks to %s", len(entries), self.folder)

    def write_one(self, hashsum: str, result: Any, exception: BaseException | None) -> None:
        """Write one record now."""
        with self._writing:
            self._writer.append([(hashsum, pack(hashsum, result, exception))])

    def flush(self) -> None:
        """Wait until all that was put in to be written at once has been."""
        if self._thread is not None:
            done = threading.Event()
            self._send(done.set)
            done.wait()

    def close(self, *, write: bool) -> None:
        """End the thread and close the files.

        Args:
            write: write what has gathered first.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.close()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()
        if write and not self._at_once:
            try:
                self.write()
            except OSError:
                logger.exception("The last %d results could not be saved in %s", len(self._waiting), self.folder)
        self._writer.close()

    # -- the thread ------------------------------------------------------------------------------------------------

    def _send(self, item: Callable[[], object] | tuple[str, bytes | _Raw]) -> None:
        self._queue.put(item)
        if self._thread is None:
            with self._writing:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="parsl-checkpoint", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        total = 0
        item = self._queue.get()
        while item is not None:
            entries: list[tuple[str, bytes]] = []
            calls: list[Callable[[], object]] = []
            # What has come while the last group was written makes up this one.
            while item is not None:
                if callable(item):
                    calls.append(item)
                else:
                    _add(entries, *item)
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            total += self._commit(entries)
            for call in calls:
                call()
            if item is not None:
                item = self._queue.get()
        logger.info("Done checkpointing %d tasks to %s", total, self.folder)

    def _commit(self, entries: list[tuple[str, bytes]]) -> int:
        if not entries:
            return 0
        try:
            with self._writing:
                self._writer.append(entries)
        except OSError:
            # Their tasks have ended well all the same, and a later run can compute them again.
            logger.exception("%d results could not be saved in %s, and are good in this run", len(entries), self.folder)
            return 0
        return len(entries)


class _Raw:
    """A result that is not packed yet."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


def _add(entries: list[tuple[str, bytes]], hashsum: str, value: bytes | _Raw) -> None:
    packed = _packed(hashsum, value.result) if isinstance(value, _Raw) else value
    if packed is not None:
        entries.append((hashsum, packed))


def _packed(hashsum: str, result: Any) -> bytes | None:
    try:
        return pack(hashsum, result)
    except Exception as e:  # noqa: BLE001 - a user's type may raise anything
        logger.warning("A result of type %s cannot be saved (%s: %s)", type(result).__qualname__, type(e).__name__, e)
        return None
