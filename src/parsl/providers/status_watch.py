"""What is known of jobs: the last thing that their batch system said, and never a guess.

Time is an argument, so that all of this can be told without waiting.
"""

from __future__ import annotations

import logging

from parsl.jobs.states import JobState, JobStatus

__all__ = ["JobWatch", "SystemWatch"]

logger = logging.getLogger(__name__)

PATIENCE = 3
"""Failures in a row up to which a batch system is just busy."""

LONGEST_PAUSE = 300.0
"""Seconds between two tries, once a batch system has failed for long."""

YOUNG = 10.0
"""Seconds for which a batch system may not know of a job that it has taken."""

GRACE = 60.0
"""Seconds for which a batch system has to deny that there is a job, before it is believed."""


class SystemWatch:
    """Whether a batch system answers, and when to ask it again.

    Args:
        name: Name of the batch system, for the log.

    Attributes:
        failures: How many times in a row it has failed.
        words: What it said at the last failure.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failures = 0
        self.words = ""
        self._next_try = 0.0

    def is_due(self, now: float) -> bool:
        """Tell whether it may be asked now."""
        return self.failures == 0 or now >= self._next_try

    def on_failure(self, words: str, now: float) -> None:
        """Note that it failed: each time in a row it is left alone for twice as long."""
        self.failures += 1
        self.words = words
        self._next_try = now + min(2.0 ** min(self.failures, 10), LONGEST_PAUSE)
        level = logging.WARNING if self.failures == PATIENCE else logging.DEBUG
        logger.log(
            level, "Asking %s for the status of jobs failed %d times in a row: %s", self.name, self.failures, words
        )

    def on_success(self) -> None:
        """Note that it answered."""
        if self.failures >= PATIENCE:
            logger.warning("%s answers again, after %d failures", self.name, self.failures)
        self.failures = 0

    @property
    def complaint(self) -> str | None:
        """What to say of it beside the last state of a job; None while it is not worth a word."""
        if self.failures < PATIENCE:
            return None
        return f"the status is an old one, for {self.name} failed {self.failures} times in a row: {self.words}"


class JobWatch:
    """What is known of one job.

    Args:
        status: Its status at the begin.
        submitted: When it was submitted, in seconds of any clock.

    Attributes:
        status: Its last status.
        cancelled: Whether the batch system has taken our request to end it.
    """

    __slots__ = ("_silent", "_silent_since", "_strange", "_submitted", "cancelled", "status")

    def __init__(self, status: JobStatus, submitted: float) -> None:
        self.status = status
        self.cancelled = False
        self._submitted = submitted
        self._silent = 0
        self._silent_since = submitted
        self._strange = 0

    def on_heard(self, heard: JobStatus, exit_code: int | None, system: str, now: float) -> None:
        """Take in what the batch system says of the job.

        Args:
            heard: State, and message and exit code where it tells them; UNKNOWN for a word that is new to us, with
                that word in the message; MISSING for a job that has ended without a word on how.
            exit_code: What the job's script left as its exit code, if it did.
            system: Name of the batch system.
            now: The time.
        """
        if heard.state is JobState.UNKNOWN:
            # It is known there, so this ends a silence, though it tells nothing that we understand.
            self._silent = 0
            self._strange += 1
            if self._strange >= PATIENCE:
                self._set(self.status.state, f"{system} says something new of it: {heard.message}")
            return
        if heard.state is JobState.MISSING:
            self.on_silence(exit_code, system, now, grace=YOUNG)
            return
        self._silent = self._strange = 0
        state, code = heard.state, heard.exit_code
        if heard.terminal and code is None:
            code = exit_code
        if state is JobState.FAILED and self.cancelled:
            state = JobState.CANCELLED
        elif state is JobState.COMPLETED and code:
            state = JobState.FAILED
        self._set(state, heard.message or _message_for(state, code), code)

    def on_silence(self, exit_code: int | None, system: str, now: float, grace: float = GRACE) -> None:
        """Take in that the batch system answered, but not of this job, or not how it ended.

        It may be too young to be known, or so old that it is forgotten; what its script left tells. If that tells
        nothing and the batch system insists, the job has been ended from outside.

        Args:
            exit_code: What the job's script left as its exit code, if it did.
            system: Name of the batch system.
            now: The time.
            grace: Seconds of silence before it is believed.
        """
        if self.on_trace(exit_code) or now - self._submitted < YOUNG:
            return
        if self.cancelled:
            self._set(JobState.CANCELLED)
            return
        if self._silent == 0:
            self._silent_since = now
        self._silent += 1
        if self._silent >= PATIENCE:
            words = f"{system} says nothing more of the job, and the job's script left no exit code"
            over = now - self._silent_since >= grace
            self._set(
                JobState.FAILED if over else self.status.state, f"{words}: it was ended from outside" if over else words
            )

    def on_trace(self, exit_code: int | None) -> bool:
        """Take in what the job's script left as its exit code; tell whether it did."""
        if exit_code is None:
            return False
        state = JobState.FAILED if exit_code else JobState.COMPLETED
        if exit_code and self.cancelled:
            state = JobState.CANCELLED
        self._set(state, _message_for(state, exit_code), exit_code)
        return True

    def on_failure(self, complaint: str | None) -> None:
        """Take in that the batch system could not be asked."""
        if complaint is not None:
            self._set(self.status.state, complaint)

    def _set(self, state: JobState, message: str | None = None, exit_code: int | None = None) -> None:
        old = self.status
        if not old.terminal:
            self.status = JobStatus(state, message, exit_code, old.stdout_path, old.stderr_path)


def _message_for(state: JobState, exit_code: int | None) -> str | None:
    if state is JobState.FAILED and exit_code is not None:
        return f"the block's script ended with exit code {exit_code}"
    return None
