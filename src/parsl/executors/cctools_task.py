"""The worker's side of a task: reads a packed call from a file, makes it, writes the answer to another.

It is started as `python -m parsl.executors.cctools_task CALL ANSWER`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from parsl.dataflow.taskrecord import Outcome
from parsl.executors.remote_call import CallFailed, failure_of, run_packed, value_of
from parsl.serialize.facade import pack_buffers, unpack_buffers

_TEXT = b"base64:"
_VALUE, _EXCEPTION = b"v", b"e"


def wrap_call(packed: bytes, path: Sequence[str]) -> bytes:
    """Join a packed call with the folders where its modules may be found."""
    return pack_buffers(["\0".join(path).encode(), packed])


def as_text(call: bytes) -> str:
    """Return a call as text, for engines that take nothing else; `answer_to` reads it as well."""
    import base64

    return (_TEXT + base64.b64encode(call)).decode()


def answer_to(call: bytes) -> bytes:
    """Make a call that `wrap_call` joined, and return its packed answer."""
    if call.startswith(_TEXT):
        import base64

        call = base64.b64decode(call[len(_TEXT) :])
    path, packed = unpack_buffers(call)
    try:
        return _VALUE + run_packed(packed, path.decode().split("\0"))
    except CallFailed as e:
        return _EXCEPTION + e.packed


def outcome_in(answer: bytes, task_id: int) -> Outcome:
    """Unpack an answer of `answer_to`; what cannot be unpacked is the error of this one task.

    Args:
        answer: the bytes.
        task_id: number of the task, for the note that an exception gets on where it was raised.
    """
    if answer[:1] == _VALUE:
        return value_of(answer[1:])
    return failure_of(CallFailed(answer[1:]), task_id)


def run(call_path: str, answer_path: str) -> None:
    """Make the call in one file and write its answer to another, whole or not at all."""
    # The task may change its folder.
    answer_path = os.path.abspath(answer_path)
    with open(call_path, "rb") as file:
        call = file.read()
    answer = answer_to(call)
    unfinished = f"{answer_path}.unfinished"
    with open(unfinished, "wb") as file:
        file.write(answer)
    os.replace(unfinished, answer_path)


if __name__ == "__main__":
    run(*sys.argv[1:])
    # What the task has left behind must not keep its worker: threads that never end, exit handlers that hang.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
