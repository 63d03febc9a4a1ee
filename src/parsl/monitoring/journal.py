"""The journal: files in the run folder between the kernel's process, which appends, and the database's, which reads.

It is the queue between the two, and it is on disk. So a database that is locked, slow, frozen or killed costs the
kernel nothing and no record: what has been applied is noted in the database, in the transaction that applies it, and
whoever comes next goes on from there.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

from parsl.monitoring.records import Batch, Record, decode, join

logger = logging.getLogger(__name__)

LENGTH = struct.Struct("<I")

SEGMENT_BYTES = 32 * 2**20

# Records gather for so long before they are written: a write, and the wake-up of the database, cost many times what a
# record costs.
GATHER_SECONDS = 0.1

# After a failed write, so long passes until the next.
RETRY_SECONDS = 0.5

# Records in memory beyond which `put` waits for the disk, and the seconds that it waits in all between two writes that
# succeed. After that memory grows rather than that tasks stand still.
MOST_WAITING = 500_000
PATIENCE = 5.0

# A frame, which a reader has in memory as a whole, takes no further batch once it has so many records.
FRAME_RECORDS = 10_000


def segment_path(folder: str, number: int) -> str:
    """Return the path of a segment of the journal in `folder`; the first is number 1."""
    return os.path.join(folder, f"journal-{number:06d}")


def segments(folder: str) -> list[int]:
    """Return the numbers of the segments that are in `folder`, in order."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    numbers = (name.removeprefix("journal-") for name in names if name.startswith("journal-"))
    return sorted(int(n) for n in numbers if n.isdigit())


class JournalWriter:
    """Appends records, from a thread of its own.

    Args:
        folder: where segments are put; made if it doesn't exist.
        wake: called, on the writer's thread, after each write.
        segment_bytes: a segment of at least this size is followed by another one.
        gather: seconds in which records gather before they are written.
    """

    def __init__(
        self,
        folder: str,
        wake: Callable[[], object],
        segment_bytes: int = SEGMENT_BYTES,
        gather: float = GATHER_SECONDS,
    ) -> None:
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self._wake = wake
        self._segment_bytes = segment_bytes
        self._gather = gather
        self._number = max(segments(folder), default=0) + 1
        self._fd = self._open()
        self._size = 0
        self._waiting: deque[Batch] = deque()
        self._count = 0
        self._patience = PATIENCE
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="parsl-journal", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Append records; from any thread. Returns at once, unless the disk has not kept up for long."""
        with self._changed:
            if self._count > MOST_WAITING and self._patience > 0:
                began = time.monotonic()
                self._changed.wait_for(lambda: self._count <= MOST_WAITING, min(1.0, self._patience))
                self._patience -= time.monotonic() - began
            self._waiting.append(batch)
            self._count += batch.count
            self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Write what is still to be written, and end.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Whether all has been written; if not, the writer goes on trying for as long as the process lives.
        """
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            self._closing.wait(self._gather)
            with self._changed:
                waiting, self._waiting = self._waiting, deque()
                self._changed.notify_all()
            if not waiting:
                break  # closing, and nothing is left
            self._append(waiting)
        os.close(self._fd)

    def _append(self, waiting: deque[Batch]) -> None:
        while waiting:
            frame: list[Batch] = []
            count = 0
            while waiting and count < FRAME_RECORDS:
                frame.append(waiting.popleft())
                count += frame[-1].count
            data = join(frame)
            while not self._write(LENGTH.pack(len(data)) + data):
                time.sleep(RETRY_SECONDS)  # on a thread of its own; a full disk tells nobody when it has room again
            with self._changed:
                self._count -= count
                self._patience = PATIENCE
                self._changed.notify_all()
        self._wake()

    def _write(self, data: bytes) -> bool:
        """Append a frame as a whole; return False when that is not possible now."""
        try:
            if self._size and self._size + len(data) > self._segment_bytes:
                self._next_segment()
            if os.pwrite(self._fd, data, self._size) < len(data):
                # The disk is full: the next attempt writes over what is there.
                raise OSError(f"no room for {len(data)} bytes")  # noqa: TRY301 - both ways end in the same place
        except OSError as e:
            if not self._failed:
                logger.error("The monitoring journal in %s cannot be written (%s); it is tried again", self.folder, e)  # noqa: TRY400 - the text says it all
            self._failed = True
            return False
        if self._failed:
            logger.warning("The monitoring journal in %s is written again", self.folder)
        self._failed = False
        self._size += len(data)
        return True

    def _next_segment(self) -> None:
        self._number += 1
        try:
            fd = self._open()
        except OSError:
            self._number -= 1
            raise
        os.close(self._fd)
        self._fd, self._size = fd, 0

    def _open(self) -> int:
        return os.open(segment_path(self.folder, self._number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


class JournalReader:
    """Reads records from where an earlier reader got to.

    Args:
        folder: where the segments are.
        segment: number of the segment to begin with, and `position` the byte in it.
    """

    def __init__(self, folder: str, segment: int = 1, position: int = 0) -> None:
        self.folder = folder
        self.segment = segment
        self.position = position

    def read(self, most: int) -> list[Record]:
        """Return at least the next whole frame, and more until there are `most` records; empty at the end for now.

        `segment` and `position` are then behind what was returned.
        """
        records: list[Record] = []
        while len(records) < most:
            frame = self._frame()
            if frame is None:
                if not os.path.exists(segment_path(self.folder, self.segment + 1)):
                    break
                # A segment that has a successor is complete; but it may have grown since it was looked at.
                frame = self._frame()
                if frame is None:
                    self.segment, self.position = self.segment + 1, 0
                    continue
            records.extend(decode(frame))
            self.position += LENGTH.size + len(frame)
        return records

    def _frame(self) -> bytes | None:
        """Return the next frame; None when it is not there as a whole."""
        try:
            with open(segment_path(self.folder, self.segment), "rb") as file:
                file.seek(self.position)
                head = file.read(LENGTH.size)
                if len(head) < LENGTH.size:
                    return None
                size = LENGTH.unpack(head)[0]
                data = file.read(size)
        except FileNotFoundError:
            return None
        return data if size and len(data) == size else None

    def forget(self, before: int) -> None:
        """Remove the segments before number `before`, which are not needed any more."""
        for number in segments(self.folder):
            if number < before:
                os.unlink(segment_path(self.folder, number))

    @property
    def rest(self) -> int:
        """How many bytes are there that have not been read."""
        sizes = ((n, os.path.getsize(segment_path(self.folder, n))) for n in segments(self.folder))
        return sum(size - (self.position if n == self.segment else 0) for n, size in sizes if n >= self.segment)
