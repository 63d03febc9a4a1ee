"""Results on disk: a log of records, and an index beside it that opens fast.

A checkpoint is a folder of two files. `tasks.pkl` is the layout of earlier releases: pickles one after another, each of
a dict of `hash`, `exception` and `result`. `tasks.idx` has a row of fixed size for each of them: hash, place, length
and checksum. The index only saves time: what it does not list is found by reading the log, and a row that does not
agree with the log is not believed. Both files are only ever appended to, data before index.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import mmap
import os
import pickle
import struct
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from hashlib import md5
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any
from zlib import crc32

from parsl.dataflow.errors import BadCheckpoint

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

RECORDS = "tasks.pkl"
INDEX = "tasks.idx"

_MAGIC = b"parsl tasks 1\n\0\0"
_ROW = struct.Struct("<16sQQI")  # key, offset, length, checksum
_KEYS = struct.Struct("<16s20x")
_HEX_DIGITS = 32

_PROTOCOL = 4  # which all releases of this format read


def key_of(hashsum: str) -> bytes:
    """Return the 16 bytes that stand for a task's hash in the index."""
    if len(hashsum) == _HEX_DIGITS:
        with contextlib.suppress(ValueError):
            return bytes.fromhex(hashsum)
    return md5(hashsum.encode(errors="surrogatepass"), usedforsecurity=False).digest()


def pack(hashsum: str, result: Any, exception: BaseException | None = None) -> bytes:
    """Return the record of a task's outcome.

    Raises:
        Exception: whatever pickling the result raises.
    """
    return pickle.dumps({"hash": hashsum, "exception": exception, "result": result}, protocol=_PROTOCOL)


class CheckpointReader:
    """One checkpoint, opened for looking up.

    Opening reads the index, and of the log what the index does not list: nothing for a checkpoint of ours, all for
    one of an earlier release. Values are not read, and no class of the user is imported. What another process appends
    later is not seen.

    Args:
        folder: the checkpoint folder.

    Attributes:
        rows: the index: rows of a fixed size, one a record.
        end: the length of the log without a torn tail.

    Raises:
        BadCheckpoint: when there is no log in the folder that can be opened.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = os.path.join(os.fspath(folder), RECORDS)
        # Opened when it is first asked for a record: there may be more runs than a process may have files open.
        self._descriptor: int | None = None
        self._opening = threading.Lock()
        try:
            with open(self.path, "rb") as log:
                # The index is read first: of a log that is being written, what is listed by now is there as well.
                self.rows = _read_index(os.path.join(os.fspath(folder), INDEX))
                self._size = os.fstat(log.fileno()).st_size
                self._forget_rows_beyond_the_end()
                self.listed = len(self)
                self.end = self._last_end()
                if self.end < self._size:
                    self._scan(log)
        except OSError as e:
            msg = f"There is no checkpoint in {os.fspath(folder)!r}: {e.strerror or e} ({RECORDS})"
            raise BadCheckpoint(msg) from e

    def keys(self) -> Iterator[bytes]:
        """Return the keys of all records, oldest first."""
        return itertools.chain.from_iterable(_KEYS.iter_unpack(self.rows))

    def __len__(self) -> int:
        return len(self.rows) // _ROW.size

    def packed(self, row: int) -> bytes | None:
        """Return a record as it is in the log; None, and a warning, when it is damaged."""
        _, offset, length, checksum = _ROW.unpack_from(self.rows, row * _ROW.size)
        record = os.pread(self._opened(), length, offset)
        if len(record) == length and crc32(record) == checksum:
            return record
        logger.warning(
            "Checkpoint %s: the record of %d bytes at byte %d is damaged; its task will run again",
            self.path,
            length,
            offset,
        )
        return None

    def _opened(self) -> int:
        with self._opening:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY)
            return self._descriptor

    def close(self) -> None:
        """Close the log."""
        with self._opening:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last_end(self) -> int:
        if not self.rows:
            return 0
        _, offset, length, _ = _ROW.unpack_from(self.rows, len(self.rows) - _ROW.size)
        return int(offset + length)

    def _forget_rows_beyond_the_end(self) -> None:
        """Drop rows whose records are not there: after a loss of power the index may have come further than the log."""
        count = len(self)
        while self._last_end() > self._size:
            self.rows = self.rows[: -_ROW.size]
        if count > len(self):
            logger.warning("Checkpoint %s has lost its last %d records", self.path, count - len(self))

    def _scan(self, file: IO[bytes]) -> None:
        """Find the records that the index does not list."""
        found = []
        with mmap.mmap(file.fileno(), self._size, access=mmap.ACCESS_READ) as log:
            for start, stop, record in _records(log, self.end):
                if start > self.end:
                    logger.warning("Checkpoint %s: bytes %d to %d are damaged and left out", self.path, self.end, start)
                found.append(_ROW.pack(key_of(record["hash"]), start, stop - start, crc32(log[start:stop])))
                self.end = stop
        self.rows += b"".join(found)
        if self.end < self._size:
            logger.warning(
                "Checkpoint %s ends within a record: %d records are good, the last %d bytes are left out",
                self.path,
                len(self),
                self._size - self.end,
            )


def _read_index(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return b""  # an earlier release has written this checkpoint
    if not content.startswith(_MAGIC):
        if content:
            logger.warning("%s is not an index of this release; the log itself is read", path)
        return b""
    end = len(content) - (len(content) - len(_MAGIC)) % _ROW.size
    return content[len(_MAGIC) : end]


def _records(log: mmap.mmap, start: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield beginning, end and content of each record of a log; what cannot be read is stepped over."""
    while start < len(log):
        log.seek(start)
        record = None
        with contextlib.suppress(Exception):  # of damaged bytes the unpickler may make anything
            record = _Skimmer(log).load()
        if isinstance(record, dict) and isinstance(record.get("hash"), str):
            stop = log.tell()
            yield start, stop, record
            start = stop
        else:
            start = _next_pickle(log, start + 1)


def _next_pickle(log: mmap.mmap, start: int) -> int:
    """Find where the next pickle may begin: at a byte that says so, followed by a number of protocol."""
    while (start := log.find(b"\x80", start)) >= 0:
        if log[start + 1 : start + 2] in _PROTOCOLS:
            return start
        start += 1
    return len(log)


_PROTOCOLS = frozenset({b"\x02", b"\x03", b"\x04", b"\x05"})


class _Anything:
    """Stands for an object of any class while only the hash of its record is wanted."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Take an item, as lists do."""

    def extend(self, items: Any) -> None:
        """Take items, as lists do."""

    def add(self, item: Any) -> None:
        """Take an item, as sets do."""

    def __call__(self, *_: Any, **__: Any) -> _Anything:
        return _Anything()


class _Skimmer(pickle.Unpickler):
    """Reads records without importing the classes of their values, and so without running a user's code."""

    def find_class(self, module: str, name: str) -> type:
        """Return the class that stands for all."""
        del module, name
        return _Anything


class CheckpointWriter:
    """Appends records to a checkpoint. Several processes may append to one, where the file system has locks.

    Args:
        folder: the checkpoint folder; it is made at the first record.
        lasting: wait until the disk has what is written, so that it outlives a loss of power.
    """

    def __init__(self, folder: str, *, lasting: bool = True) -> None:
        self.folder = folder
        self._lasting = lasting
        self._files: tuple[IO[bytes], IO[bytes]] | None = None

    def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append records, each with the hash of its task, as one group.

        When this returns they outlive the process, and if `lasting` the machine.

        Raises:
            OSError: when they could not all be written; what was there before is still good.
        """
        records, index = self._files or self._open()
        with _Locked(records):
            self._mend(records, index)
            # Where an append ends is known only once it has been made.
            size = _write(records, b"".join([record for _, record in entries]))
            offset = os.lseek(records.fileno(), 0, os.SEEK_CUR) - size
            rows = []
            for hashsum, record in entries:
                rows.append(_ROW.pack(key_of(hashsum), offset, len(record), crc32(record)))
                offset += len(record)
            _write(index, b"".join(rows))
        if self._lasting:
            _sync(records.fileno())

    def _open(self) -> tuple[IO[bytes], IO[bytes]]:
        os.makedirs(self.folder, exist_ok=True)
        records = open(os.path.join(self.folder, RECORDS), "ab", buffering=0)  # noqa: SIM115 - closed by `close`
        try:
            # To be read as well: its last row tells whether all is well.
            index = open(os.path.join(self.folder, INDEX), "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        except BaseException:
            records.close()
            raise
        self._files = records, index
        return self._files

    def _mend(self, records: IO[bytes], index: IO[bytes]) -> None:
        """Cut off what a killed process or a full disk has left half written, and list what the index lacks."""
        size = os.fstat(records.fileno()).st_size
        listed = os.fstat(index.fileno()).st_size
        if listed > len(_MAGIC) and (listed - len(_MAGIC)) % _ROW.size == 0:
            _, offset, length, _ = _ROW.unpack(os.pread(index.fileno(), _ROW.size, listed - _ROW.size))
            if offset + length == size:
                return
        if size == 0:
            os.ftruncate(index.fileno(), 0)
            _write(index, _MAGIC)
            return
        with CheckpointReader(self.folder) as reader:
            os.ftruncate(records.fileno(), reader.end)
            os.ftruncate(index.fileno(), 0)
            _write(index, _MAGIC + reader.rows)

    def close(self) -> None:
        """Close the files."""
        files, self._files = self._files, None
        for file in files or ():
            file.close()


def _write(file: IO[bytes], data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    return len(data)


def _sync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)


class _Locked:
    """Holds the lock of a file, where there are locks."""

    def __init__(self, file: IO[bytes]) -> None:
        self._descriptor = file.fileno()
        self._held = False

    def __enter__(self) -> None:
        # Without locks (some network file systems, Windows) a checkpoint is good as long as one process writes it,
        # which each run's own folder sees to.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._held = True

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        if self._held:
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def open_checkpoints(folders: Sequence[str | os.PathLike[str]]) -> Checkpoints:
    """Open checkpoints for looking up.

    Args:
        folders: the checkpoint folders, oldest first: where several know a task, the last counts.

    Raises:
        BadCheckpoint: when one cannot be opened; it says which.
    """
    readers: list[CheckpointReader] = []
    try:
        readers.extend(CheckpointReader(folder) for folder in folders)
    except BaseException:
        for reader in readers:
            reader.close()
        raise
    return Checkpoints(readers)


class Checkpoints(Mapping[str, "Future[Any]"]):
    """The results of several checkpoints together, by the hash of the task; each is read when it is asked for.

    As a mapping it has futures for values, as earlier releases had.
    """

    def __init__(self, readers: Sequence[CheckpointReader] = ()) -> None:
        self._readers = readers
        self._rows: dict[bytes, int] = {}
        # Rows are counted through all checkpoints.
        self._begins: list[int] = []
        total = 0
        for reader in readers:
            self._begins.append(total)
            self._rows.update(zip(reader.keys(), itertools.count(total), strict=False))
            total += len(reader)

    def packed(self, hashsum: str) -> bytes | None:
        """Return the record of a task as it is on disk; None when there is none, or it is damaged."""
        row = self._rows.get(key_of(hashsum)) if self._rows else None
        if row is None:
            return None
        number = bisect_right(self._begins, row) - 1
        return self._readers[number].packed(row - self._begins[number])

    def record(self, hashsum: str) -> dict[str, Any] | None:
        """Return the record of a task; None when there is none, or it cannot be read, of which a warning tells."""
        try:
            packed = self.packed(hashsum)
            if packed is None:
                return None
            record: dict[str, Any] = pickle.loads(packed)  # noqa: S301 - what a run of the same user has written
        except Exception as e:  # noqa: BLE001 - the log or a class may be gone, or raise anything
            logger.warning("The saved result of hash %s cannot be used (%s: %s)", hashsum, type(e).__name__, e)
            return None
        return record if record["hash"] == hashsum else None

    def __getitem__(self, hashsum: str) -> Future[Any]:
        record = self.record(hashsum)
        if record is None:
            raise KeyError(hashsum)
        future: Future[Any] = Future()
        if record.get("exception") is None:
            future.set_result(record["result"])
        else:
            future.set_exception(record["exception"])
        return future

    def __iter__(self) -> Iterator[str]:
        return (key.hex() for key in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers:
            reader.close()
        self._readers, self._rows = (), {}
