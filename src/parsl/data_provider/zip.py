"""Staging of members of ZIP archives: `zip:/dir/a.zip/inner/name`."""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.data_provider.staging import Staging
from parsl.data_provider.transfer import CHUNK, Refused, Transfer, WithFolder, carry_out, check_length, landing
from parsl.data_provider.ways import ended, place, transfer_of
from parsl.errors import ParslError

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any

    from parsl.data_provider.data_manager import DataManager


class ZipAuthorityError(ParslError):
    """A `zip:` URL names a host. Archives are found by path: `zip:/dir/a.zip/inner/name`, without `//host`.

    Args:
        file: the file of that URL.
    """

    def __init__(self, file: File) -> None:
        super().__init__(file)
        self.file = file

    def __str__(self) -> str:
        return f"{self.file.url} names the host {self.file.netloc!r}: a zip URL has only a path, zip:/dir/a.zip/name"


class ZipFileStaging(Staging):
    """Stages members of ZIP archives in and out, each in a task of its own on the executor of the app.

    The archive and the folder into which members are staged must be reachable from the executor's workers. A member
    that is written again is found as it was written last. Many tasks may use an archive at once: they lock it, and an
    archive whose writer was killed is as it was before.
    """

    def is_zip_url(self, file: File) -> bool:
        """Tell whether a file is a member of a ZIP archive.

        Raises:
            ZipAuthorityError: when its URL names a host.
        """
        if file.scheme != "zip":
            return False
        if file.netloc:
            raise ZipAuthorityError(file)
        return True

    def can_stage_in(self, file: File) -> bool:
        """Tell whether a file is a member of a ZIP archive."""
        return self.is_zip_url(file)

    def can_stage_out(self, file: File) -> bool:
        """Tell whether a file is a member of a ZIP archive."""
        return self.is_zip_url(file)

    def stage_in(self, dm: DataManager, executor: str, file: File, parent_fut: Future[Any] | None) -> DataFuture | None:
        """Submit a task that takes the member out of its archive, once its producer has ended."""
        zip_path_split(file.path)
        transfer = transfer_of(self, dm, executor, file, inbound=True)
        future = dm.run(_zip_stage_in, transfer, executor=executor, after=parent_fut)
        return DataFuture(future, file, tid=future.tid)

    def stage_out(self, dm: DataManager, executor: str, file: File, parent_fut: Future[Any]) -> Future[Any] | None:
        """Submit a task that puts the file into the archive, once the app has ended."""
        zip_path_split(file.path)
        transfer = transfer_of(self, dm, executor, file, inbound=False)
        return dm.run(_zip_stage_out, transfer, executor=executor, after=ended(parent_fut, file))

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See to it that there is the folder into which the function writes."""
        return WithFolder(func, place(dm, executor, file))


def zip_path_split(path: str) -> tuple[str, str]:
    """Split the path of a `zip:` URL into the path of the archive and the name inside it.

    Args:
        path: such as `/dir/a.zip/inner/name`; the first component that ends in `.zip` is the archive.

    Raises:
        ValueError: when there is no archive or no name in it.
    """
    archive, found, inner = path.partition(".zip/")
    if not found or not inner:
        raise ValueError(f"{path!r} does not name a member of a ZIP archive, as /dir/a.zip/inner/name does")
    return f"{archive}.zip", inner


def _zip_stage_in(transfer: Transfer, after: object = None) -> None:
    """Take a member out of an archive: the function of a task, which gets what it waits for as `after`."""
    carry_out(transfer, _extract)


def _zip_stage_out(transfer: Transfer, after: object = None) -> None:
    """Put a file into an archive: the function of a task, which gets what it waits for as `after`."""
    carry_out(transfer, _insert)


def _extract(url: str, target: str) -> None:
    import shutil
    import zipfile

    path, inner = _member(url)
    with _locked(path, writing=False) as file, zipfile.ZipFile(file) as archive:
        try:
            info = archive.getinfo(inner)
        except KeyError:
            raise Refused(f"archive {path} has no member {inner!r}") from None
        with archive.open(info) as member, open(target, "wb") as copy:
            shutil.copyfileobj(member, copy, CHUNK)  # zipfile compares the checksum
            check_length(copy.tell(), info.file_size)


def _insert(source: str, url: str) -> None:
    """Add a file, or a folder with all in it, to an archive."""
    import shutil
    import zipfile

    path, inner = _member(url)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    members = {source: inner}
    if os.path.isdir(source):
        found = (os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names)
        members = {file: f"{inner}/{os.path.relpath(file, source)}" for file in found}
    with _locked(path, writing=True) as file, _undone_on_failure(path, file):
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
            # That there is an older member of the name, which readers no longer see, is what rewriting means.
            warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
            for name, member in members.items():
                info = zipfile.ZipInfo.from_file(name, member, strict_timestamps=False)
                info.compress_type = zipfile.ZIP_DEFLATED
                with open(name, "rb") as data, archive.open(info, "w", force_zip64=True) as packed:
                    shutil.copyfileobj(data, packed, CHUNK)
        file.flush()
        os.fsync(file.fileno())


def _member(url: str) -> tuple[str, str]:
    """Split a URL; refuse a member whose name leads out of the folder into which somebody unpacks the archive."""
    path, inner = zip_path_split(File(url).path)
    if inner.startswith("/") or ".." in inner.split("/"):
        raise Refused(f"member {inner!r} of archive {path} would leave the folder in which the archive is unpacked")
    return path, inner


# -- an archive that several processes write to ----------------------------------------------------------------------
#
# The lock is on the archive itself: no second file stays behind, and the system frees it when its holder dies. Adding
# a member overwrites the archive's directory, which is at its end. So the end is first saved beside the archive; who
# next locks the archive and finds a saved end knows that a writer was killed, and puts it back.


@contextlib.contextmanager
def _locked(path: str, *, writing: bool) -> Iterator[IO[bytes]]:
    """Give an open archive under a lock, free of the traces of a killed writer.

    Args:
        path: the archive.
        writing: nobody else may read or write it meanwhile, and it is made if it is not there.
    """
    import fcntl

    while True:
        with _opened(path, writing=writing) as file:
            fcntl.flock(file, fcntl.LOCK_EX if writing else fcntl.LOCK_SH)
            if os.fstat(file.fileno()).st_nlink == 0:
                continue  # whoever had made it failed, and has removed it
            if not os.path.exists(_saved(path)):
                yield file
                return
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _put_back(path, file)


def _opened(path: str, *, writing: bool) -> IO[bytes]:
    if not writing:
        try:
            return open(path, "rb")
        except FileNotFoundError:
            raise Refused(f"there is no archive {path}") from None
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")


def _saved(path: str) -> str:
    return f"{path}.undo"


@contextlib.contextmanager
def _undone_on_failure(path: str, file: IO[bytes]) -> Iterator[None]:
    """Put an archive's end back when what is done to it fails, or is never finished."""
    start, end = _end_of(file)
    try:
        with landing(_saved(path)) as temporary, open(temporary, "wb") as saved:
            saved.write(_HEAD.pack(start, _mark(file, start)) + end)
            saved.flush()
            os.fsync(saved.fileno())
        yield
        os.unlink(_saved(path))
    except BaseException:
        _put_back(path, file)
        if not os.fstat(file.fileno()).st_size:
            os.unlink(path)
        raise


# Where the saved end begins, and the mark of the archive that it belongs to.
_HEAD = struct.Struct("<QI")


def _end_of(file: IO[bytes]) -> tuple[int, bytes]:
    """Return where an archive's directory begins, and all from there on."""
    import zipfile

    if not os.fstat(file.fileno()).st_size:
        return 0, b""
    with zipfile.ZipFile(file) as archive:
        start = archive.start_dir
    file.seek(start)
    return start, file.read()


def _mark(file: IO[bytes], start: int) -> int:
    """Return what tells an archive from another one that has taken its name: a checksum of what is before the end."""
    file.seek(max(0, start - 4096))
    return zlib.crc32(file.read(min(start, 4096)))


def _put_back(path: str, file: IO[bytes]) -> None:
    """Give an archive the end that was saved, if there is one and it is this archive's."""
    try:
        with open(_saved(path), "rb") as saved:
            start, mark = _HEAD.unpack(saved.read(_HEAD.size))
            end = saved.read()
    except FileNotFoundError:
        return  # another process was first
    if _mark(file, start) == mark:
        file.seek(start)
        file.write(end)
        file.truncate()
        file.flush()
    os.unlink(_saved(path))
