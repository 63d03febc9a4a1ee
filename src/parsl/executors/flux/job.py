"""The program of a Flux job: makes the call of one task. Each rank of a job of several tasks makes it."""

from __future__ import annotations

import os
import sys

import msgspec

from parsl.executors.flux import TaskResult
from parsl.executors.flux.messages import CallFile, write_result
from parsl.executors.remote_call import CallFailed, run_packed


def answer_path(call_path: str, rank: int) -> str:
    """Return where a rank writes how its call ended."""
    return f"{call_path}.{rank}"


def main(call_path: str) -> int:
    """Make the call in a file and write how it ended beside it.

    The result of rank 0 is the result of the task; an exception is written by whichever rank raises it.

    Returns:
        The exit code: 1 when the function raised.
    """
    rank = int(os.environ.get("FLUX_TASK_RANK", "0"))
    with open(call_path, "rb") as file:
        content = msgspec.msgpack.decode(file.read(), type=CallFile)
    try:
        result = TaskResult(run_packed(content.call, content.path), None)
    except CallFailed as e:
        result = TaskResult(None, e.packed)
    if rank == 0 or result.exception is not None:
        path = answer_path(call_path, rank)
        # Whoever finds the file finds all of it.
        with open(f"{path}.part", "wb") as file:
            file.write(write_result(result))
        os.rename(f"{path}.part", path)
    return 0 if result.exception is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
