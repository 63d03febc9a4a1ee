"""Staging by rsync, for workers that do not share the file system of the script."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from parsl.data_provider.staging import Staging
from parsl.data_provider.transfer import TIMEOUT_S, Interrupted, Refused, Transfer, WithTransfer, carry_out
from parsl.data_provider.ways import transfer_of
from parsl.errors import OptionalModuleMissing
from parsl.representation import RepresentationMixin

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl.app.futures import DataFuture
    from parsl.data_provider.data_manager import DataManager
    from parsl.data_provider.files import File

# rsync's exit codes for a socket that broke, a stream that was cut, silence, and a remote shell that ended.
_PASSING = frozenset({10, 12, 30, 35, 255})


class RSyncStaging(Staging, RepresentationMixin):
    """Fetches files with rsync from the machine that has them, and sends them there, inside the task that uses them.

    It takes plain paths, which are paths on `hostname`, reached by ssh; and `rsync://host:port/module/path`,
    files of an rsync daemon. rsync must be installed on both sides, and ssh must work without a password, from the
    workers to `hostname`.

    Args:
        hostname: where the files are, as ssh names it: `host` or `user@host`.
    """

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname

    def can_stage_in(self, file: File) -> bool:
        """Tell whether the file is a path or one of an rsync daemon."""
        return file.scheme in {"file", "rsync"}

    def can_stage_out(self, file: File) -> bool:
        """Tell whether the file is a path or one of an rsync daemon."""
        return file.scheme in {"file", "rsync"}

    def stage_out(self, dm: DataManager, executor: str, file: File, parent_fut: Future[Any]) -> DataFuture | None:
        """Begin nothing: the task itself sends the file."""
        return None

    def replace_task(
        self, dm: DataManager, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put the fetching of the file before the function."""
        carry = functools.partial(_rsync_transfer, source=_remote(file, self.hostname))
        return WithTransfer(f, transfer_of(self, dm, executor, file, inbound=True), carry)

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put the sending of the file after the function."""
        carry = functools.partial(_rsync_transfer, source=_remote(file, self.hostname))
        return WithTransfer(f, transfer_of(self, dm, executor, file, inbound=False), carry)


def _remote(file: File, hostname: str) -> str:
    """Name a file as rsync does."""
    if file.scheme == "rsync":
        parts = urlsplit(file.url)
        return f"rsync://{parts.netloc}{unquote(parts.path)}"
    # A path as the script sees it: on the other side it would start at the user's home.
    return f"{hostname}:{os.path.abspath(file.path)}"


def _rsync_transfer(transfer: Transfer, source: str) -> None:
    """Make a transfer between `source`, as rsync names it, and here."""

    def move(_: str, path: str) -> None:
        path = os.path.abspath(path)  # a name with a colon would be taken for another host's
        _rsync(source, path)
        if not os.path.exists(path):
            raise Refused(f"{source} is a folder; only files are staged")

    def send(path: str, _: str) -> None:
        if os.path.isdir(path):
            raise Refused(f"{path} is a folder; only files are staged")
        _rsync(os.path.abspath(path), source)

    carry_out(transfer, move if transfer.inbound else send)


def _rsync(source: str, target: str) -> None:
    """Copy one file. rsync itself compares checksums, and gives the name when the file is complete."""
    program = shutil.which("rsync")
    if program is None:
        raise OptionalModuleMissing(["rsync"], "The command rsync was not found on PATH where the task runs.")
    # -s: blanks and the like in remote names are no words of a shell. -L: the file, not a link to it. -tp: its time and
    # permissions, so that a program stays one.
    command = [program, "-sLtp", f"--timeout={TIMEOUT_S:g}", "--", source, target]
    # A password that ssh would ask for would be waited for until the end of time.
    environment = {"RSYNC_RSH": "ssh -o BatchMode=yes", **os.environ}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        check=False,
    )
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip()
        reason = f"rsync of {source} ended with code {done.returncode}: {told[-1000:]}"
        passing = done.returncode in _PASSING and "denied" not in told
        raise (Interrupted if passing else Refused)(reason)


def in_task_stage_in_wrapper(
    func: Callable[..., Any], file: File, working_dir: str | None, hostname: str
) -> Callable[..., Any]:
    """Put the fetching of a file before a function.

    Args:
        func: the function.
        file: the file, which is on `hostname`; it goes to its `local_path`, or else to its name in `working_dir`.
        working_dir: the folder; None is the one in which the function runs.
        hostname: where the file is.
    """
    return _wrapped(func, file, working_dir, hostname, inbound=True)


def in_task_stage_out_wrapper(
    func: Callable[..., Any], file: File, working_dir: str | None, hostname: str
) -> Callable[..., Any]:
    """Put the sending of a file after a function.

    Args:
        func: the function.
        file: the file, for `hostname`; it is sent from its `local_path`, or else from its name in `working_dir`.
        working_dir: the folder; None is the one in which the function runs.
        hostname: where the file goes.
    """
    return _wrapped(func, file, working_dir, hostname, inbound=False)


def _wrapped(
    func: Callable[..., Any], file: File, working_dir: str | None, hostname: str, *, inbound: bool
) -> Callable[..., Any]:
    path = file.local_path or os.path.join(working_dir or "", file.filename)
    transfer = Transfer("RSyncStaging", file.url, path, inbound, getattr(func, "__name__", "a task"))
    return WithTransfer(func, transfer, functools.partial(_rsync_transfer, source=_remote(file, hostname)))
