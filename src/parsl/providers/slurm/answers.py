"""What Slurm's commands print, and what it means."""

from __future__ import annotations

import re

from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from parsl.providers.commands import match_rows

__all__ = ["STATES", "read_sacct", "read_scontrol", "read_squeue"]

STATES = {
    "BOOT_FAIL": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "COMPLETED": JobState.COMPLETED,
    # The job's processes have ended or are ending, how is told later.
    "COMPLETING": JobState.RUNNING,
    "CONFIGURING": JobState.PENDING,
    "DEADLINE": JobState.TIMEOUT,
    "FAILED": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PENDING": JobState.PENDING,
    "POWER_UP_NODE": JobState.PENDING,
    "PREEMPTED": JobState.CANCELLED,
    "RECONFIG_FAIL": JobState.FAILED,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.HELD,
    "RESIZING": JobState.RUNNING,
    "RESV_DEL_HOLD": JobState.HELD,
    "REVOKED": JobState.CANCELLED,
    "RUNNING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SPECIAL_EXIT": JobState.HELD,
    "STAGE_OUT": JobState.RUNNING,
    "STOPPED": JobState.HELD,
    "SUSPENDED": JobState.HELD,
    "TIMEOUT": JobState.TIMEOUT,
}
"""Slurm's words for the state of a job."""

_LIVING = re.compile(r"(?P<id>\d+(_\d+)?)\|(?P<state>[A-Z_]+)\|(?P<reason>.*)|(?P<other>CLUSTER: .*|\d+[^|]*\|.*)")
_DEAD = re.compile(
    r"(?P<id>\d+(_\d+)?)\|(?P<state>[A-Z_]+)[^|]*\|(?P<code>\d+):(?P<signal>\d+)|(?P<other>\d+[^|]*\|.*)"
)
_SHOWN = re.compile(
    r"JobId=(?P<id>\d+) (?:ArrayJobId=(?P<array>\d+) ArrayTaskId=(?P<task>\d+) )?.*?\bJobState=(?P<state>[A-Z_]+)"
    r" Reason=(?P<reason>\S+).*?\bExitCode=(?P<code>\d+):(?P<signal>\d+).*"
)


def read_squeue(text: str) -> dict[str, JobStatus]:
    """Read lines of id, state and reason.

    Raises:
        ValueError: It is no such table.
    """
    rows = [row for row in match_rows(_LIVING, text) if row["id"]]
    return {row["id"]: _status("squeue", row["state"], row["reason"]) for row in rows}


def read_sacct(text: str) -> dict[str, JobStatus]:
    """Read lines of id, state and exit code.

    Raises:
        ValueError: It is no such table.
    """
    rows = [row for row in match_rows(_DEAD, text) if row["id"]]
    return {row["id"]: _status("sacct", row["state"], "", (row["code"], row["signal"])) for row in rows}


def read_scontrol(text: str) -> dict[str, JobStatus]:
    """Read jobs as `scontrol --oneliner show job` shows them.

    Raises:
        ValueError: It is no such text.
    """
    found = {}
    for row in match_rows(_SHOWN, text):
        job_id = f"{row['array']}_{row['task']}" if row["array"] else row["id"]
        found[job_id] = _status("scontrol", row["state"], row["reason"], (row["code"], row["signal"]))
    return found


def _status(command: str, word: str, reason: str, ended: tuple[str, str] | None = None) -> JobStatus:
    """Make a status of Slurm's words.

    Args:
        command: Who said it.
        word: The state.
        reason: Why it is in that state; "None" or "" for no reason.
        ended: Exit code and signal.
    """
    state = STATES.get(word, JobState.UNKNOWN)
    message = None if reason in {"", "None"} else f"Slurm's reason: {reason}"
    if state is JobState.UNKNOWN:
        return JobStatus(state, f"{command} says {word}")
    if state is JobState.PENDING and "Held" in reason:
        state = JobState.HELD
    elif state is JobState.FAILED and word != "FAILED":
        message = f"Slurm's state: {word}"
    exit_code = None
    if ended is not None and state in TERMINAL_STATES:
        code, signal = map(int, ended)
        exit_code = code or (128 + signal if signal else None)
        if state is JobState.COMPLETED:
            exit_code = exit_code or 0
    return JobStatus(state, message, exit_code)
