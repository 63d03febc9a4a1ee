"""From what the pilot says of a call that was lost, or took too long, to the exception that its future gets."""

from __future__ import annotations

from parsl.app.errors import AppTimeout
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.executors.high_throughput.messages import TIMED_OUT, WORKER_LOST, Result, read_loss
from parsl.executors.remote_call import note


def loss_error(result: Result, task: int) -> WorkerLost | ManagerLost | AppTimeout:
    """Make the exception for a call that was lost with its worker or manager, or ended with it since it took too long.

    Args:
        result: of status WORKER_LOST, MANAGER_LOST or TIMED_OUT.
        task: number of the task, for people.
    """
    loss = read_loss(result.payload)
    exception: WorkerLost | ManagerLost | AppTimeout
    if result.status == TIMED_OUT:
        exception = AppTimeout(loss.cause)
    else:
        exception = (
            WorkerLost(int(loss.what), loss.hostname)
            if result.status == WORKER_LOST
            else ManagerLost(loss.what, loss.hostname)
        )
        exception.cause = loss.cause
        exception.asked_for = loss.asked_for
    note(exception, f"in task {task} on {loss.where}" if loss.where else f"in task {task}")
    if loss.stack:
        note(exception, f"it was here, innermost call first:\n{loss.stack}")
    return exception


def last_words(path: str) -> str:
    """Return the end of what a process has written on its standard error."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:].strip()
    except OSError as e:
        return f"({path} cannot be read: {e})"
