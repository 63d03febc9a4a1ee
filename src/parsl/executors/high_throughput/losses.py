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
    else:
        exception = (
            WorkerLost(int(loss.what), loss.hostname)
            if result.status == WORKER_LOST
            else ManagerLost(loss.what, loss.hostname)
        )
        exception.cause = loss.cause
        exception.asked_for = loss.asked_for
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
