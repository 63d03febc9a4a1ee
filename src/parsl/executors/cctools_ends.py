"""What the end of a task in an engine means, in words."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl.executors.cctools_messages import End

# The engine's words for the loss of the process or of the worker, as often as it tries.
_LOSSES = frozenset({"signal", "max retries", "forsaken", "library exit"})

_SENTENCES = {
    "resource exhaustion": "it used more than it was given",
    "input missing": "an input file could not be brought to it",
    "output missing": "not all of its output files were there at its end",
    "stdout missing": "its standard output could not be brought back",
    "end time": "it did not end before its deadline",
    "max end time": "it did not end before its deadline",
    "max wall time": "it ran longer than running_time_max",
    "disk full": "there was no room on its worker's disk",
    "output transfer error": "an output file could not be brought back",
    "signal": "its process was ended by a signal",
    "max retries": "its worker was lost as often as max_retries allows",
    "forsaken": "its worker could not begin it as often as max_retries allows",
    "library exit": "the library process that ran it has ended",
    "not submitted": "the engine did not take it",
}


def reason_of(end: End) -> tuple[str, bool]:
    """Say why a task has no answer.

    Args:
        end: what the engine told of it.

    Returns:
        The reason in words, and whether the task was lost with what ran it.
    """
    # A task whose command has failed has left no answer, which is what the engine then tells.
    by_status = end.result in {"success", "output missing"} and end.status != 0
    # The engine tells a signal as a negative number, as shells do, or now and then as the bare number.
    bare = end.status == signal.SIGKILL
    killed = by_status and (end.status < 0 or end.status > 128 or bare)
    if killed:
        number = abs(end.status) if end.status < 0 or bare else end.status - 128
        reason = f"the task's process was ended by signal {number}"
    elif by_status:
        reason = f"the task's command ended with exit code {end.status} and left no answer"
    elif end.result == "success":
        reason = "the task's command has left no answer"
    else:
        reason = f"{_SENTENCES.get(end.result, 'the engine gave it up')} ({end.result.upper().replace(' ', '_')})"
    if end.detail:
        reason += f": {end.detail}"
    return reason, killed or end.result in _LOSSES
