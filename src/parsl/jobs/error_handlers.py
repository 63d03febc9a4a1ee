"""When an executor gives up: functions that look at the states of its blocks, for `block_error_handler`.

A handler is called after each poll of the blocks' states, with the executor and the status of every block so far. If it
finds the executor beyond hope it calls `executor.set_bad_state_and_fail_all`, which fails all waiting tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobState, JobStatus

__all__ = ["noop_error_handler", "simple_error_handler", "windowed_error_handler"]

_FAILED_STATES = frozenset({JobState.FAILED, JobState.TIMEOUT, JobState.MISSING})


class _BlockNumbers(Protocol):
    @property
    def init_blocks(self) -> int: ...


class _Executor(Protocol):
    """The two things that a handler needs of an executor."""

    @property
    def provider(self) -> _BlockNumbers: ...

    def set_bad_state_and_fail_all(self, exception: Exception) -> None: ...


def noop_error_handler(executor: _Executor, status: dict[str, JobStatus], threshold: int = 3) -> None:
    """Never give up, whatever fails.

    Args:
        executor: Not used.
        status: Not used.
        threshold: Not used.
    """


def simple_error_handler(executor: _Executor, status: dict[str, JobStatus], threshold: int = 3) -> None:
    """Give up when every block failed, and at least as many as the executor begins with.

    One block that works, or that worked and was scaled in, is proof that the configuration is right. Failed means
    FAILED, TIMEOUT or MISSING.

    Args:
        executor: The executor; at least max(1, `executor.provider.init_blocks`) blocks have to be there.
        status: Block id to status, all blocks of the run so far.
        threshold: Not used, here so that handlers are called alike.
    """
    if len(status) >= max(1, executor.provider.init_blocks) and _all_failed(status.values()):
        _give_up(executor, status)


def windowed_error_handler(executor: _Executor, status: dict[str, JobStatus], threshold: int = 3) -> None:
    """Give up when the newest blocks failed, whatever became of earlier ones.

    Args:
        executor: The executor.
        status: Block id to status, all blocks of the run so far. The newest are those with the largest ids as numbers.
        threshold: How many of the newest blocks have to have failed; with fewer blocks than that nothing happens.
    """
    newest = sorted(status, key=_by_number)[-threshold:]
    window = {block_id: status[block_id] for block_id in newest}
    if len(window) >= threshold and _all_failed(window.values()):
        _give_up(executor, window)


def _by_number(block_id: str) -> tuple[bool, int, str]:
    """Order "9" before "10"; ids that are no numbers, which only executors from elsewhere have, come first."""
    is_number = block_id.isdecimal()
    return is_number, int(block_id) if is_number else 0, block_id


def _all_failed(statuses: Iterable[JobStatus]) -> bool:
    return all(status.state in _FAILED_STATES for status in statuses)


def _give_up(executor: _Executor, failed: dict[str, JobStatus]) -> None:
    executor.set_bad_state_and_fail_all(TooManyJobFailuresError(_report(failed)))


def _report(failed: dict[str, JobStatus]) -> str:
    """Tell in words what became of the blocks and what they wrote."""
    count = f"{len(failed)} blocks" if len(failed) > 1 else "The only block"
    lines = [f"{count} failed, and no further ones are asked for."]
    for block_id in sorted(failed, key=_by_number):
        status = failed[block_id]
        lines.append(f"Block {block_id}: {status.status_name}" + (f": {status.message}" if status.message else ""))
        if status.exit_code is not None:
            lines.append(f"    EXIT CODE: {status.exit_code}")
        for name, text in (("STDOUT", status.stdout_summary), ("STDERR", status.stderr_summary)):
            if text and text.strip():
                lines.append(f"    {name}:")
                lines.extend(f"        {line}" for line in text.splitlines())
    return "\n".join(lines)
