"""From what the pilot says of a call that was lost, or took too long, to the exception that its future gets."""

from __future__ import annotations

from parsl.app.errors import AppTimeout
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.executors.high_throughput.messages import TIMED_OUT, WORKER_LOST, Result, read_loss


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
    elif result.status == WORKER_LOST:
        exception = WorkerLost(int(loss.what), loss.hostname)
        exception.cause = loss.cause
    else:
        exception = ManagerLost(loss.what, loss.hostname)
        exception.cause = loss.cause
    add_note(exception, f"in task {task} on {loss.where}" if loss.where else f"in task {task}")
    if loss.stack:
        add_note(exception, f"it was here, innermost call first:\n{loss.stack}")
    return exception


def add_note(exception: BaseException, text: str) -> None:
    """Add a line that is printed below an exception."""
    # Python 3.10 has no notes; there the line can still be read in the attribute that later releases print.
    notes = getattr(exception, "__notes__", None)
    # Not by plain assignment, which a frozen dataclass refuses.
    BaseException.__setattr__(exception, "__notes__", [*(notes or []), text])


def last_words(path: str) -> str:
    """Return the end of what a process has written on its standard error."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:].strip()
    except OSError as e:
        return f"({path} cannot be read: {e})"
