"""What a RADICAL worker does with a call: makes it, and answers with text, since RADICAL carries no bytes."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from parsl.executors.remote_call import CallFailed, run_packed

VALUE, EXCEPTION, LOST = b"v", b"e", b"l"

_comm: Any = None


def run_for_radical(path: tuple[str, ...], text: str, comm: Any = None, guarded: bool = False) -> str:
    """Make a call; RADICAL carries this very function to its worker, which then finds the rest of us by `path`.

    Args:
        path: where the submitting process looks for modules; searched last.
        text: the packed call.
        comm: the MPI communicator of the ranks that make the call together.
        guarded: run the call in a process of its own, whose death is told.
    """
    import sys

    sys.path += [folder for folder in path if folder not in sys.path]
    from parsl.executors.radical.worker import answer_call

    return answer_call(text, comm, guarded=guarded)


def answer_call(text: str, comm: Any, *, guarded: bool) -> str:
    """Make a call and say how it ended: the rank, and the packed answer."""
    call = base64.b64decode(text)
    with _communicator(comm):
        answer = _in_child(call) if guarded else _answer(call)
    return f"{comm.rank if comm is not None else 0}:{base64.b64encode(answer).decode()}"


def read_answers(texts: list[str]) -> list[bytes]:
    """Return the packed answers of all ranks, in their order."""
    pairs = [text.split(":", 1) for text in texts]
    return [base64.b64decode(answer) for _, answer in sorted(pairs, key=lambda pair: int(pair[0]))]


class RankCall:
    """A function that is called by several ranks, with their communicator as the argument `comm`.

    Args:
        function: the user's function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function on a rank."""
        return self.function(*args, **{**kwargs, "comm": _comm})


@contextlib.contextmanager
def _communicator(comm: Any) -> Iterator[None]:
    global _comm  # noqa: PLW0603 - what a rank does is the call of one task
    _comm = comm
    try:
        yield
    finally:
        _comm = None


def _answer(call: bytes) -> bytes:
    try:
        return VALUE + run_packed(call)
    except CallFailed as e:
        return EXCEPTION + e.packed


def _in_child(call: bytes) -> bytes:
    """Make a call in a process of its own.

    RADICAL's worker waits for ever for a process of its own that was killed. This one is forked, as that was.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            with open(writing, "wb") as pipe:
                pipe.write(_answer(call))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if status == 0:
        return answer
    code = os.waitstatus_to_exitcode(status)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return LOST + f"its process {how}".encode()
