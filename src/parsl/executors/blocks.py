"""What an executor remembers of each of its blocks."""

from __future__ import annotations

from typing import NamedTuple

from parsl.jobs.states import JobStatus
from parsl.jobs.witness import Doubt


class Block:
    """One block that an executor has asked for.

    Attributes:
        job_id: the provider's name for it; None until it has been submitted, or when that failed.
        status: the last status known.
        since: when it was asked for, by the executor's clock.
        submitting: whether the provider has not answered yet.
        draining: since when it is being emptied, or None.
        emptied: whether nothing is lost with it any more.
        awaited: whether a caller of `scale_in` waits for it to be empty, and gives it back.
        works: whether its workers have ever been heard of.
        doubt: how long the provider has contradicted them.
    """

    __slots__ = ("awaited", "doubt", "draining", "emptied", "job_id", "since", "status", "submitting", "works")

    def __init__(self, job_id: str | None, status: JobStatus, since: float = 0.0) -> None:
        self.job_id = job_id
        self.status = status
        self.since = since
        self.submitting = job_id is None
        self.draining: float | None = None
        self.emptied = False
        self.awaited = False
        self.works = False
        self.doubt = Doubt()

    @property
    def live(self) -> bool:
        """Whether there is a job that has not ended."""
        return self.job_id is not None and not self.status.terminal


class Census(NamedTuple):
    """How many blocks there are.

    Attributes:
        serving: blocks that run tasks, or will.
        leaving: blocks that take no further task, and have not ended.
    """

    serving: int
    leaving: int
