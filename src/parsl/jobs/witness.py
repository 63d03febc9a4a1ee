"""What to believe of a block when the provider says one thing and its managers another.

The provider speaks for the batch system, which may be late or wrong. A manager that is heard of is a witness that the
block runs; that none ever was says that a block which has ended did nothing. Time is an argument.
"""

from __future__ import annotations

from typing import NamedTuple

from parsl.jobs.states import JobState, JobStatus

__all__ = ["Doubt", "Evidence", "judge"]

LOOKS = 3
"""How often in a row the provider has to say that a block is gone which is heard of, before it is believed."""

SECONDS = 60.0
"""For how long it has to say so."""


class Evidence(NamedTuple):
    """What else is known of a block when the provider has been asked.

    Attributes:
        connected: Whether a manager of it is connected and heard of, now.
        seen: Whether one ever was.
        given_back: Whether we have emptied it, so that its end is our own doing.
    """

    connected: bool
    seen: bool
    given_back: bool = False


class Doubt:
    """How long a provider has insisted on the end of a block that is heard of.

    Attributes:
        looks: How often in a row it has said so.
        since: When it said so first, in seconds of any clock.
    """

    __slots__ = ("looks", "since")

    def __init__(self) -> None:
        self.looks = 0
        self.since = 0.0

    def grows(self, now: float) -> bool:
        """Note that the provider says so again; return whether it has insisted for long enough."""
        if self.looks == 0:
            self.since = now
        self.looks += 1
        return self.looks >= LOOKS and now - self.since >= SECONDS

    def ends(self) -> None:
        """Note that provider and managers agree."""
        self.looks = 0


def judge(told: JobStatus, evidence: Evidence, doubt: Doubt, now: float) -> JobStatus:
    """Return what to believe of a block.

    Args:
        told: What the provider says.
        evidence: What else is known.
        doubt: This block's, from one judgement to the next.
        now: The time in seconds.

    Returns:
        `told`, or a status of another state with its words:

        - SCALED_IN for the end of a block that was given back;
        - RUNNING for one that is heard of, whatever else the provider says, until it insists;
        - MISSING for one that ended before anything was heard of it, whatever its exit code says.
    """
    if not told.terminal:
        doubt.ends()
        if evidence.connected and told.state is not JobState.RUNNING:
            return _as(JobState.RUNNING, told, f"the provider says {told.status_name}, but its managers are connected")
        return told
    if evidence.given_back:
        return _as(JobState.SCALED_IN, told)
    if evidence.connected and not doubt.grows(now):
        return _as(JobState.RUNNING, told, f"the provider says {told.status_name}, but its managers are connected")
    if evidence.seen:
        return told
    return _as(JobState.MISSING, told, "the block ended before its workers connected to the interchange")


def _as(state: JobState, told: JobStatus, words: str | None = None) -> JobStatus:
    """Make a status of another state that keeps what was told."""
    if state is JobState.RUNNING and told.message:
        words = f"{words}: {told.message}"
    elif told.message:
        words = told.message
    code = None if state is JobState.RUNNING else told.exit_code
    return JobStatus(state, words, code, told.stdout_path, told.stderr_path)
