"""What HTCondor's commands print, and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterable

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.commands import match_rows

__all__ = ["LIVING", "read_history", "read_queue"]

LIVING = {
    "1": JobState.PENDING,
    "2": JobState.RUNNING,
    "3": JobState.RUNNING,  # being removed; the history tells when it is
    "4": JobState.RUNNING,  # about to leave the queue; the history tells how it ended
    "5": JobState.HELD,
    "6": JobState.RUNNING,  # transferring its output
    "7": JobState.HELD,
}
"""HTCondor's numbers for the state of a job in the queue."""

_RANK = (
    JobState.UNKNOWN,
    JobState.RUNNING,
    JobState.HELD,
    JobState.PENDING,
    JobState.FAILED,
    JobState.TIMEOUT,
    JobState.CANCELLED,
    JobState.COMPLETED,
)
"""Of the states of a cluster's jobs the first of these is the cluster's."""

_LIVING = re.compile(r"(?P<id>\d+), (?P<job>\d+), (?P<state>\d+), (?P<reason>.*)")
_DEAD = re.compile(
    r"(?P<id>\d+), (?P<job>\d+), (?P<state>\d+), (?P<by_signal>\w+), (?P<code>\w+), (?P<signal>\w+), (?P<reason>.*)"
)


def read_queue(text: str) -> dict[str, JobStatus]:
    """Read lines of cluster, job, state and reason to be held from condor_q.

    Returns:
        The status of each job, under `cluster.job`, and of each cluster.

    Raises:
        ValueError: It is no such table.
    """
    return _with_clusters((row, _living(row["state"], row["reason"])) for row in match_rows(_LIVING, text))


def read_history(text: str) -> dict[str, JobStatus]:
    """Read lines of cluster, job, state, how it ended and why from condor_history.

    Returns:
        The status of each job, under `cluster.job`, and of each cluster.

    Raises:
        ValueError: It is no such table.
    """
    return _with_clusters((row, _ended(row)) for row in match_rows(_DEAD, text))


def _with_clusters(statuses: Iterable[tuple[re.Match[str], JobStatus]]) -> dict[str, JobStatus]:
    """Make one status of those of a cluster's jobs, for a block of several, and keep those of each."""
    found: dict[str, JobStatus] = {}
    for row, status in statuses:
        cluster = row["id"]
        found[f"{cluster}.{row['job']}"] = status
        if cluster not in found or _RANK.index(status.state) < _RANK.index(found[cluster].state):
            found[cluster] = status
    return found


def _living(number: str, reason: str) -> JobStatus:
    state = LIVING.get(number, JobState.UNKNOWN)
    if state is JobState.UNKNOWN:
        return JobStatus(state, f"condor_q says JobStatus {number}")
    return JobStatus(state, reason if state is JobState.HELD and reason != "undefined" else None)


def _ended(row: re.Match[str]) -> JobStatus:
    """Make a status of a line of condor_history."""
    reason = None if row["reason"] == "undefined" else row["reason"]
    if row["state"] == "3":
        overtime = reason is not None and "periodicremove" in reason.lower()
        return JobStatus(JobState.TIMEOUT if overtime else JobState.CANCELLED, reason)
    if row["state"] != "4":
        return JobStatus(JobState.UNKNOWN, f"condor_history says JobStatus {row['state']}")
    ended = row["signal"] if row["by_signal"] == "true" else row["code"]
    if not ended.isdigit():
        return JobStatus(JobState.UNKNOWN, f"condor_history says: {row[0]}")
    code = 128 + int(ended) if row["by_signal"] == "true" else int(ended)
    return JobStatus(JobState.FAILED if code else JobState.COMPLETED, reason, code)
