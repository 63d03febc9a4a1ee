"""Large buffers of calls and results, kept beside the messages in memory that processes of a node share.

A payload of more than a few kilobytes is written to a file in a private folder on `/dev/shm` (or, where there is
none or little of it, in the temporary folder), and only its name travels through the brokers. Whoever consumes the
payload reads the file straight into the object. For a manager on another node, the interchange turns names into frames
of the message (`ship`) and the other side turns them back into files (`land`).
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from parsl.executors.high_throughput.messages import Payload, Segment

# Below this a payload travels inside its message.
INLINE_BYTES = 32 * 1024

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the folder made in it is private
_PREFIX = "parsl-"
_CLOSED = "-closed"
_PARTIAL = ".part"
_TOKEN = "token"  # noqa: S105 - a file name
_FRAME = "frame:"
_LEAST_ROOM = 2**30


class SegmentStore:
    """A folder of segments, private to one user, shared by the processes of one node.

    Args:
        folder: an existing store to join; None makes a new one, which this object then owns.
        owner: who writes, for `remove_partial`; by default the process.

    Attributes:
        folder: the store's path.
        token: a secret that only who can read the folder knows; two processes that name the same token share it.
    """

    def __init__(self, folder: str | None = None, owner: str | None = None) -> None:
        self.owned = folder is None
        self._lock = -1
        if folder is None:
            parent = _SHARED_MEMORY if _roomy(_SHARED_MEMORY) else tempfile.gettempdir()
            remove_abandoned(parent)
            folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)
            self.token = secrets.token_hex(16)
            self._lock = _write_locked(os.path.join(folder, _TOKEN), self.token.encode())
        else:
            self.token = read_token(folder) or ""
        self.folder = folder
        self._prefix = f"{owner or os.getpid()}-{secrets.token_hex(4)}"
        self._count = 0

    def payload(self, body: bytes, buffers: Sequence[Any] = ()) -> Payload:
        """Make the payload of a packed object: inside the message if it is small, else in a segment."""
        if not buffers and len(body) <= INLINE_BYTES:
            return Payload(body)
        views = [memoryview(body), *(b.raw() if hasattr(b, "raw") else memoryview(b) for b in buffers)]
        writable = [not v.readonly for v in views]
        return Payload(b"", Segment(self._write(views), [v.nbytes for v in views], writable))

    def open(self, payload: Payload) -> tuple[bytes, list[Any]]:
        """Return body and buffers of a payload; the segment stays until `drop`."""
        segment = payload.segment
        if segment is None:
            return payload.body, []
        parts: list[Any] = []
        with open(os.path.join(self.folder, _safe(segment.name)), "rb", buffering=0) as file:
            for size, writable in zip(segment.sizes, segment.writable, strict=True):
                parts.append(_read(file, size, writable=writable))
        return parts[0], parts[1:]

    def ship(self, payload: Payload, frames: list[Any]) -> Payload:
        """Return the payload in a form that can leave the node; what lies in a segment is appended to `frames`."""
        segment = payload.segment
        if segment is None:
            return payload
        with open(os.path.join(self.folder, _safe(segment.name)), "rb", buffering=0) as file:
            frames.append(_read(file, sum(segment.sizes), writable=False))
        return Payload(b"", Segment(f"{_FRAME}{len(frames) - 1}", segment.sizes, segment.writable))

    def land(self, payload: Payload, frames: Sequence[Any]) -> Payload:
        """Undo `ship` on another node: put what came as a frame into a segment of this store."""
        segment = payload.segment
        if segment is None or not segment.name.startswith(_FRAME):
            return payload
        name = self._write([memoryview(frames[int(segment.name[len(_FRAME) :])])])
        return Payload(b"", Segment(name, segment.sizes, segment.writable))

    def drop(self, payload: Payload) -> None:
        """Remove the segment of a payload, if it has one and it is still there."""
        if payload.segment is not None and payload.segment.name:
            pathlib.Path(self.folder, _safe(payload.segment.name)).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder, when this object made it."""
        if self.owned:
            remove_store(self.folder)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write(self, views: list[memoryview]) -> str:
        self._count += 1
        name = f"{self._prefix}-{self._count}"
        path = os.path.join(self.folder, name)
        try:
            _write_private(f"{path}{_PARTIAL}", views)
            os.rename(f"{path}{_PARTIAL}", path)
        except OSError as e:
            pathlib.Path(f"{path}{_PARTIAL}").unlink(missing_ok=True)
            size = sum(v.nbytes for v in views)
            raise OSError(e.errno, f"no room for {size} bytes of a task in {self.folder}: {e.strerror}") from e
        return name


def _roomy(folder: str) -> bool:
    """Tell whether shared memory is there and large enough to be worth using (containers often have 64 MB)."""
    try:
        room = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    return os.access(folder, os.W_OK | os.X_OK) and room.f_bavail * room.f_frsize >= _LEAST_ROOM


def remove_store(folder: str) -> None:
    """Remove a store with all that is in it."""
    # Under another name, nobody who still writes a last result can put it in while it is being emptied.
    closed = f"{folder}{_CLOSED}"
    try:
        os.rename(folder, closed)
    except FileNotFoundError:
        return
    shutil.rmtree(closed, ignore_errors=True)


def remove_abandoned(parent: str) -> None:
    """Remove this user's stores whose makers were killed: they hold memory that nobody will use.

    Args:
        parent: the folder in which stores are made.
    """
    import fcntl

    for entry in os.scandir(parent):
        try:
            ours = re.fullmatch(rf"{_PREFIX}\d+-\w{{8}}({_CLOSED})?", entry.name)
            if not ours or entry.stat(follow_symlinks=False).st_uid != os.getuid():
                continue
            with open(os.path.join(entry.path, _TOKEN), "rb") as token:
                # A maker holds the lock from before it writes the token until it ends, however it ends.
                fcntl.flock(token, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if re.fullmatch(rb"[0-9a-f]{32}", token.read(64)):
                    remove_store(entry.path)
        except OSError:
            continue  # locked, no store, or just removed by somebody else


def remove_partial(folder: str, owner: str) -> None:
    """Remove what somebody who was killed has begun to write.

    Args:
        folder: the store.
        owner: as it was given to the killed process's `SegmentStore`.
    """
    with contextlib.suppress(FileNotFoundError):  # the whole store may have been removed
        for name in os.listdir(folder):
            if name.startswith(f"{owner}-") and name.endswith(_PARTIAL):
                pathlib.Path(folder, name).unlink(missing_ok=True)


def _write_locked(path: str, data: bytes) -> int:
    """Write a file and return a descriptor that holds a lock of it for as long as it is open."""
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, data)
    return fd


def maker_lives(folder: str) -> bool:
    """Tell whether the process that made a store is there still, and has not closed it."""
    import fcntl

    try:
        with open(os.path.join(folder, _TOKEN), "rb") as token:
            fcntl.flock(token, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read_token(folder: str) -> str | None:
    """Return the token of a store, or None where there is no such store or it belongs to somebody else."""
    try:
        with open(os.path.join(folder, _TOKEN), encoding="ascii") as file:
            return file.read()
    except OSError:
        return None


def _write_private(path: str, views: Sequence[Any]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for view in views:
            at, flat = 0, memoryview(view).cast("B")
            while at < flat.nbytes:
                at += os.write(fd, flat[at:])
    finally:
        os.close(fd)


def _read(file: Any, size: int, *, writable: bool) -> Any:
    if not writable:
        # One read of a raw file fills a new bytes object in place, up to 2 GB; more comes in pieces.
        data = file.read(size)
        return data if len(data) == size else bytes(data) + _rest(file, size - len(data))
    buffer = bytearray(size)
    view, at = memoryview(buffer), 0
    while at < size:
        got = file.readinto(view[at:])
        if not got:
            raise EOFError(_short(size, at))
        at += got
    return buffer


def _rest(file: Any, size: int) -> bytes:
    parts = []
    while size:
        part = file.read(size)
        if not part:
            raise EOFError(_short(size, 0))
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _short(size: int, got: int) -> str:
    return f"a segment is shorter than said: {got} of {size} bytes"


def _safe(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        msg = f"{name!r} is no segment's name"
        raise ValueError(msg)
    return name
