"""Staging of files of every scheme that fsspec opens: s3, gs, abfs, sftp, hdfs, memory and many more.

fsspec is the common interface to which storage systems bring their clients (s3fs, gcsfs, adlfs, ...); one provider
covers them all, and what a user has installed decides what it takes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl.data_provider.staging import Staging
from parsl.data_provider.transfer import (
    CHUNK,
    Interrupted,
    Refused,
    Transfer,
    WithTransfer,
    carry_out,
    check_length,
    may_pass,
)
from parsl.data_provider.ways import transfer_of
from parsl.errors import OptionalModuleMissing
from parsl.representation import RepresentationMixin

if TYPE_CHECKING:
    from parsl.data_provider.data_manager import DataManager
    from parsl.data_provider.files import File

# Schemes for which there is a provider of our own, or that name no place from which another machine could fetch.
_OTHERS = frozenset({"file", "local", "http", "https", "ftp", "zip", "rsync", "globus"})


class FsspecInTaskStaging(Staging, RepresentationMixin):
    """Fetches and sends the files of all schemes that fsspec knows, inside the task that uses them.

    It takes part when fsspec is installed where the script runs; the plug-in of the scheme (s3fs for `s3:`) has to be
    installed where tasks run.

    Args:
        schemes: the schemes to take; None takes all that fsspec knows and no other provider of this package takes.
        storage_options: arguments for the file system of a scheme, as fsspec's own `storage_options`; for several
            schemes, a mapping by scheme. They travel with each task, so credentials had better be where tasks run.
    """

    def __init__(self, schemes: Sequence[str] | None = None, storage_options: Mapping[str, Any] | None = None) -> None:
        self.schemes = schemes
        self.storage_options = storage_options

    def can_stage_in(self, file: File) -> bool:
        """Tell whether the file is of a scheme of this provider."""
        if self.schemes is not None:
            return file.scheme in self.schemes
        return file.scheme not in _OTHERS and file.scheme in _known()

    def can_stage_out(self, file: File) -> bool:
        """Tell whether the file is of a scheme of this provider."""
        return self.can_stage_in(file)

    def replace_task(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put the fetching of the file before the function."""
        return WithTransfer(func, transfer_of(self, dm, executor, file, inbound=True), self._carry(file))

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put the sending of the file after the function."""
        return WithTransfer(func, transfer_of(self, dm, executor, file, inbound=False), self._carry(file))

    def _carry(self, file: File) -> Callable[[Transfer], None]:
        options = dict(self.storage_options or {})
        by_scheme = options and set(options) <= _known() and all(isinstance(o, Mapping) for o in options.values())
        return functools.partial(_fsspec_transfer, options=options.get(file.scheme, {}) if by_scheme else options)


@functools.cache
def _known() -> frozenset[str]:
    """Name the schemes that fsspec knows; none when it is not installed."""
    try:
        from fsspec import available_protocols
    except ImportError:
        return frozenset()
    return frozenset(available_protocols())


def _fsspec_transfer(transfer: Transfer, options: Mapping[str, Any]) -> None:
    move = _fsspec_fetch if transfer.inbound else _fsspec_send
    carry_out(transfer, functools.partial(move, options=options))


def _fsspec_fetch(url: str, target: str, options: Mapping[str, Any]) -> None:
    """Write a remote file to a file here."""
    import shutil

    with _file_system(url, options) as (system, path):
        length = system.info(path).get("size")
        with system.open(path, "rb") as remote, open(target, "wb") as file:
            shutil.copyfileobj(remote, file, CHUNK)
            check_length(file.tell(), length)


def _fsspec_send(source: str, url: str, options: Mapping[str, Any]) -> None:
    """Send a file. In a transaction of fsspec, it takes its name when it is complete, or leaves nothing."""
    import shutil

    with _file_system(url, options) as (system, path), open(source, "rb") as file:
        with system.transaction, system.open(path, "wb") as remote:
            shutil.copyfileobj(file, remote, CHUNK)
        check_length(int(system.info(path)["size"]), file.tell())


@contextlib.contextmanager
def _file_system(url: str, options: Mapping[str, Any]) -> Any:
    """Give the file system of a URL and the path there; tell what may pass from what will not."""
    scheme = url.partition(":")[0]
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url, **options)
    except ImportError as e:
        missing = (e.name or "fsspec").partition(".")[0]
        reason = f"Files of scheme {scheme!r} are staged by fsspec and its plug-in: {e}. Install them where tasks run."
        raise OptionalModuleMissing([missing], reason) from e
    except ValueError as e:
        raise Refused(str(e)) from e
    try:
        yield system, path
    except FileNotFoundError as e:
        raise Refused(f"there is no {e}") from e
    except OSError as e:
        if may_pass(e):
            raise Interrupted(str(e)) from e
        raise
