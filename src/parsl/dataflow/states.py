"""The states of a task, and which state may follow which."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class States(IntEnum):
    """Where a task stands. The numbers are part of the monitoring database's format, so they never change.

    A task begins as `unsched`, soon becomes `pending`, and ends in one of `FINAL_STATES`. `LEGAL` is the whole table
    of moves.
    """

    unsched = -1
    """The task has a number, but its arguments have not been looked at. Nothing refers to it yet."""

    pending = 0
    """The task waits for the futures among its arguments, or for its turn to be launched."""

    running = 2
    """A worker has begun the current try. Only monitoring reports it: the kernel isn't told when a worker begins."""

    exec_done = 3
    """Final: the app ran and returned, and for a join app all that it waited for has ended well."""

    failed = 4
    """Final: the app, or a step on the way to it, raised, and no retry is left; or the task was cancelled."""

    dep_fail = 5
    """Final: the task was not run, because something among its arguments failed. The cause is in another task."""

    launched = 7
    """The task was handed to an executor and now waits for a worker, or is running on one."""

    fail_retryable = 8
    """A try failed and another one will be made. The futures that depend on the task see nothing of it."""

    memo_done = 9
    """Final: the outcome of an earlier equal call, from this run or a checkpoint, was used. The app did not run."""

    joining = 10
    """The join app itself has returned; the task waits for the futures that it returned."""

    running_ended = 11
    """The worker is through with the current try, well or badly. Only monitoring reports it, like `running`."""


FINAL_STATES: frozenset[States] = frozenset({States.exec_done, States.memo_done, States.failed, States.dep_fail})
"""The states that no task leaves; its future is done, or about to be."""

FINAL_FAILURE_STATES: frozenset[States] = frozenset({States.failed, States.dep_fail})
"""The final states in which the future holds an exception."""

_TRY_ENDED = frozenset({States.exec_done, States.joining, States.failed, States.fail_retryable})

LEGAL: Mapping[States, frozenset[States]] = MappingProxyType(
    {
        States.unsched: frozenset({States.pending, States.memo_done}),
        States.pending: frozenset(
            {States.launched, States.memo_done, States.dep_fail, States.failed, States.fail_retryable}
        ),
        # The two states that only monitoring sees lie between the launch and the end of a try. For the kernel,
        # a launched task goes straight to where the try led.
        States.launched: _TRY_ENDED | {States.running},
        States.running: frozenset({States.running_ended}),
        States.running_ended: _TRY_ENDED,
        States.joining: frozenset({States.exec_done, States.failed}),
        States.fail_retryable: frozenset(
            {States.pending, States.launched, States.memo_done, States.failed, States.dep_fail}
        ),
        **dict.fromkeys(FINAL_STATES, frozenset[States]()),
    }
)
"""For each state, those that may come next."""
