"""Staging of files of the scheme ftp, on ftplib of the standard library."""

from __future__ import annotations

import contextlib
import os
import posixpath
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from parsl.data_provider.transfer import (
    CHUNK,
    TIMEOUT_S,
    Interrupted,
    Refused,
    Transfer,
    carry_out,
    check_length,
    may_pass,
)
from parsl.data_provider.ways import InTaskStaging, SeparateTaskStaging, fetching_first

if TYPE_CHECKING:
    from ftplib import FTP

    from parsl.data_provider.files import File


def _ftp_fetch(url: str, target: str) -> None:
    """Write a file of a server to a file here."""
    with _session(url) as (ftp, path), open(target, "wb") as file:
        length = _size(ftp, path)
        ftp.retrbinary(f"RETR {path}", file.write, CHUNK)
        check_length(file.tell(), length)


def _ftp_send(source: str, url: str) -> None:
    """Send a file under a temporary name and give it the final one."""
    from ftplib import all_errors

    with _session(url) as (ftp, path), open(source, "rb") as file:
        folder, name = posixpath.split(path)
        temporary = posixpath.join(folder, f".{name[:100]}.{uuid.uuid4().hex[:12]}.part")
        try:
            ftp.storbinary(f"STOR {temporary}", file, CHUNK)
            arrived = _size(ftp, temporary)
            check_length(os.fstat(file.fileno()).st_size if arrived is None else arrived, file.tell())
            ftp.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(*all_errors):  # the first error is the one to tell
                ftp.delete(temporary)
            raise


@contextlib.contextmanager
def _session(url: str) -> Iterator[tuple[FTP, str]]:
    """Log in to the server of a URL; give the connection and the path; tell what may pass from what will not."""
    import ftplib
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    path = unquote(parts.path)
    ftp = ftplib.FTP(timeout=TIMEOUT_S)  # noqa: S321 - who stages by FTP has chosen it
    try:
        ftp.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT)
        ftp.login(unquote(parts.username or ""), unquote(parts.password or ""))
        ftp.voidcmd("TYPE I")
        yield ftp, path
        with contextlib.suppress(*ftplib.all_errors):  # the file is here, whatever the server says to a goodbye
            ftp.quit()
    except ftplib.all_errors as e:
        # 4xx is the protocol's own word for what may pass; EOFError is a connection that the server closed.
        passing = isinstance(e, (ftplib.error_temp, EOFError)) or may_pass(e)
        told = f"server {parts.hostname}, path {path}: {str(e) or 'the connection was closed'}"
        if passing:
            raise Interrupted(told) from e
        if isinstance(e, ftplib.Error):
            raise Refused(told) from e
        raise  # an error of the file here
    finally:
        ftp.close()


def _size(ftp: FTP, path: str) -> int | None:
    """Ask for the length of a file; None when the server does not tell. RETR will say what is wrong with a path."""
    from ftplib import error_perm

    try:
        return ftp.size(path)
    except error_perm:
        return None


def _ftp_transfer(transfer: Transfer) -> None:
    carry_out(transfer, _ftp_fetch if transfer.inbound else _ftp_send)


def _ftp_stage_in(transfer: Transfer, after: object = None) -> None:
    """Fetch a file: the function of a task, which gets what it waits for as `after`."""
    _ftp_transfer(transfer)


def _ftp_stage_out(transfer: Transfer, after: object = None) -> None:
    """Send a file: the function of a task, which gets what it waits for as `after`."""
    _ftp_transfer(transfer)


class FTPSeparateTaskStaging(SeparateTaskStaging):
    """Fetches and sends `ftp:` files, each in a task of its own.

    That task runs on the executor of the app, whose workers must share the folder into which files are staged.
    """

    schemes = frozenset({"ftp"})
    fetch = staticmethod(_ftp_stage_in)
    send = staticmethod(_ftp_stage_out)


class FTPInTaskStaging(InTaskStaging):
    """Fetches and sends `ftp:` files inside the task that uses them, for workers that share no folder."""

    schemes = frozenset({"ftp"})
    carry = staticmethod(_ftp_transfer)


def in_task_transfer_wrapper(func: Callable[..., Any], file: File, working_dir: str | None) -> Callable[..., Any]:
    """Put the fetching of a file before a function.

    Args:
        func: the function.
        file: the file; it goes to its `local_path`, or if it has none, to its name in `working_dir`.
        working_dir: the folder; None is the one in which the function runs.

    Returns:
        A function that fetches the file and calls `func`.
    """
    return fetching_first(FTPInTaskStaging, func, file, working_dir)
