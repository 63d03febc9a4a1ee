"""One transfer of one file, where it happens: tried again, checked, and never half done under the final name.

What a provider has to bring along is two functions, one that fetches and one that sends; all else is here. This module
and the providers are loaded with the kernel, so what only a transfer needs is imported by the transfer.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from parsl.app.errors import MissingOutputs
from parsl.errors import OptionalModuleMissing, ParslError

ATTEMPTS = 4
"""How often a transfer is tried when it fails for a reason that may pass."""

FIRST_PAUSE_S = 0.25
"""Pause after the first failure, in seconds; each further one is three times as long, and all are varied by a half."""

CHUNK = 1 << 20
"""How many bytes of a file are in memory at once."""

TIMEOUT_S = 60.0
"""How many seconds a server may be silent."""


class TransferError(ParslError):
    """A file could not be brought to a task, or away from it.

    Args:
        what: the transfer in words: the provider, the file and who wanted it.
        host: the machine on which it was tried.
        attempts: how often it was tried.
        reason: what went wrong the last time: a sentence.
    """

    def __init__(self, what: str, host: str, attempts: int, reason: str) -> None:
        super().__init__(what, host, attempts, reason)
        self.what = what
        self.host = host
        self.attempts = attempts
        self.reason = reason

    def __str__(self) -> str:
        tried = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        return f"{self.what} failed on {self.host}{tried}: {self.reason}"


class Refused(Exception):
    """A transfer failed for a reason that trying again does not change."""


class Interrupted(Exception):
    """A transfer failed for a reason that may pass."""


class Transfer(NamedTuple):
    """What is to be brought where, and for whom; picklable.

    Attributes:
        provider: name of the staging provider.
        url: the file's URL.
        path: the path for the file, or of it, where the transfer runs.
        inbound: whether it comes from the URL to the path; otherwise it goes from the path to the URL.
        asked_by: the task that wants it, in words.
    """

    provider: str
    url: str
    path: str
    inbound: bool
    asked_by: str

    def __str__(self) -> str:
        shown = without_password(self.url)
        way = f"in of {shown} to" if self.inbound else f"out of {shown} from"
        return f"{self.provider}: stage-{way} {self.path} for {self.asked_by}"


def carry_out(transfer: Transfer, move: Callable[[str, str], None]) -> None:
    """Make a transfer, with all attempts that it is worth.

    Args:
        transfer: what to bring where.
        move: called with source and target. An incoming file it writes to a temporary path, which becomes the final
            one when it returns. It raises `Interrupted` when another attempt may help; any other exception is final.

    Raises:
        MissingOutputs: when a file that is to be sent is not there.
        OptionalModuleMissing: when `move` needs a library that is not installed.
        TransferError: when the transfer failed.
    """
    if not transfer.inbound and not os.path.exists(transfer.path):
        raise MissingOutputs(f"{transfer} found no file: {transfer.asked_by} did not make it.", [transfer.path])
    attempt = 0
    while True:
        attempt += 1
        try:
            if transfer.inbound:
                with landing(transfer.path) as temporary:
                    move(transfer.url, temporary)
            else:
                move(transfer.path, transfer.url)
        except OptionalModuleMissing:
            raise
        except Exception as e:  # noqa: BLE001 - of the disk, the network, the server or a library
            if isinstance(e, Interrupted) and attempt < ATTEMPTS:
                time.sleep(pause_after(attempt))
                continue
            reason = str(e) if isinstance(e, (Refused, Interrupted)) else f"{type(e).__name__}: {e}"
            error = TransferError(str(transfer), socket.gethostname(), attempt, reason)
            raise error from (e.__cause__ if isinstance(e, (Refused, Interrupted)) else e)
        else:
            return


def pause_after(attempt: int) -> float:
    """Return how many seconds to wait after a failed attempt, numbered from 1; never the same for two tasks."""
    return FIRST_PAUSE_S * 3.0 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret is made of it


@contextlib.contextmanager
def landing(path: str) -> Iterator[str]:
    """Give a temporary path beside `path`, whose file takes the name `path` if all goes well, else is removed.

    Args:
        path: the final name; folders above it are made.
    """
    make_folder_of(path)
    folder, name = os.path.split(path)
    # A name of its own for each attempt, since several tasks may fetch the same file at once; and short, as the name
    # of the file may be as long as names can be.
    temporary = os.path.join(folder, f".{name[:100]}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def make_folder_of(path: str) -> None:
    """Make the folder of a path, and those above it, if they are not there."""
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)


def may_pass(error: object) -> bool:
    """Tell whether what the network or a server did may be over at the next attempt."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return isinstance(error, OSError) and error.errno in _PASSING


# Among them the name server's "try again".
_PASSING = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, socket.EAI_AGAIN})


def check_length(got: int, announced: int | None) -> None:
    """Raise Interrupted when a file has another length than was announced; None stands for no announcement."""
    if announced is not None and got != announced:
        raise Interrupted(f"the transfer was cut: {got} of {announced} bytes arrived")


def without_password(url: str) -> str:
    """Return a URL for messages, with `***` in place of a password."""
    from urllib.parse import urlsplit

    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        if at and ":" in user:
            return parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}").geturl()
    return url


class WithFolder:
    """The function of a task with the making of the folder into which it writes an output before it.

    Args:
        func: the task's function.
        path: the path of the output.
    """

    def __init__(self, func: Callable[..., Any], path: str) -> None:
        functools.update_wrapper(self, func, updated=())
        self.func = func
        self.path = path

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the folder and call the function."""
        make_folder_of(self.path)
        return self.func(*args, **kwargs)


class WithTransfer:
    """The function of a task with a transfer before or after it.

    A transfer out is made only if the function has returned.

    Args:
        func: the task's function, possibly with other transfers round it already.
        transfer: what to bring where.
        carry: makes a transfer: a function of a module, so that it travels by name.
    """

    def __init__(self, func: Callable[..., Any], transfer: Transfer, carry: Callable[[Transfer], None]) -> None:
        functools.update_wrapper(self, func, updated=())
        self.func = func
        self.transfer = transfer
        self.carry = carry

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, and make the transfer."""
        if self.transfer.inbound:
            self.carry(self.transfer)
            return self.func(*args, **kwargs)
        make_folder_of(self.transfer.path)
        result = self.func(*args, **kwargs)
        self.carry(self.transfer)
        return result

    def __repr__(self) -> str:
        return f"<{self.func!r} with {self.transfer}>"
