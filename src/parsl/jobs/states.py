"""The states of a block's job, and one job's status: state, message, exit code, and what it wrote."""

from __future__ import annotations

import logging
import os
from enum import IntEnum

__all__ = ["TERMINAL_STATES", "JobState", "JobStatus"]

logger = logging.getLogger(__name__)


class JobState(IntEnum):
    """Where a block's job stands.

    Providers report what their batch system says, in these words. `MISSING` and `SCALED_IN` are the executor's own:
    only it knows whether a block ever did anything, and which blocks it gave back.
    """

    UNKNOWN = 0
    """Nothing can be said: the batch system did not answer, answered with a state that is not in the provider's table,
    or does not know the job. Not an end: the next poll may tell more."""

    PENDING = 1
    """Handed to the batch system, waiting for resources. It counts as capacity on its way, so no further block is
    asked for on behalf of the same tasks."""

    RUNNING = 2
    """Resources are held and the block's script runs. That does not mean that a worker has registered yet."""

    CANCELLED = 3
    """Ended on somebody's request: ours at shutdown, or a user's or an administrator's. Nobody's failure, so block
    error handlers do not count it."""

    COMPLETED = 4
    """The script ended with exit code 0: a pilot that drained, or one whose walltime the pilot itself observed."""

    FAILED = 5
    """The script ended with another exit code, was killed, or could not be started."""

    TIMEOUT = 6
    """The batch system ended the job as its walltime was over. Apart from `FAILED` since it says what to change:
    the walltime, or nothing."""

    HELD = 7
    """The batch system keeps the job back (user hold, system hold, failed prerequisites) until someone releases it.
    Apart from `PENDING` since waiting alone will not help."""

    MISSING = 8
    """The job ended, well or badly, before any worker of the block registered, or could not be submitted at all. An
    exit code of 0 looks like success to the batch system, but such a block has done nothing, and to ask for another
    like it would go on for ever."""

    SCALED_IN = 9
    """Ended since the executor needed it no longer. Apart from `CANCELLED` so that it isn't taken for somebody
    else's doing, and so that a block given back before it registered is not `MISSING`."""

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __format__(self, format_spec: str) -> str:
        # Python releases differ on whether an IntEnum formats as number or name; logs want the name.
        return format(str(self), format_spec)


TERMINAL_STATES = frozenset({
    JobState.CANCELLED,
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.TIMEOUT,
    JobState.MISSING,
    JobState.SCALED_IN,
})  # fmt: skip
"""The states that no job leaves."""


class JobStatus:
    """The status of one block's job at one moment.

    Args:
        state: The state.
        message: What there is to say beyond the state, in words for the user.
        exit_code: Exit code of the job, if it has ended and the batch system tells; 128 + n if signal n ended it.
        stdout_path: File with the job's standard output, readable from here at the latest when the job has ended.
        stderr_path: File with its standard error.
    """

    SUMMARY_TRUNCATION_THRESHOLD = 2048
    """Bytes up to which `stdout_summary` and `stderr_summary` show a file whole."""

    def __init__(
        self,
        state: JobState,
        message: str | None = None,
        exit_code: int | None = None,
        stdout_path: str | None = None,
        stderr_path: str | None = None,
    ) -> None:
        self.state = state
        self.message = message
        self.exit_code = exit_code
        self.stdout_path = stdout_path
        self.stderr_path = stderr_path

    def __repr__(self) -> str:
        extra = f", message={self.message!r}" if self.message is not None else ""
        extra += f", exit_code={self.exit_code}" if self.exit_code is not None else ""
        extra += f", stdout_path={self.stdout_path!r}" if self.stdout_path is not None else ""
        extra += f", stderr_path={self.stderr_path!r}" if self.stderr_path is not None else ""
        return f"{type(self).__name__}({self.state}{extra})"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended: it will be in this state for ever."""
        return self.state in TERMINAL_STATES

    @property
    def status_name(self) -> str:
        """The name of the state, such as "RUNNING"."""
        return self.state.name

    @property
    def stdout(self) -> str | None:
        """All of the job's standard output, None if there is no file that can be read."""
        return self._text_of(self.stdout_path)

    @property
    def stderr(self) -> str | None:
        """All of the job's standard error, None if there is no file that can be read."""
        return self._text_of(self.stderr_path)

    @property
    def stdout_summary(self) -> str | None:
        """The job's standard output: all of it if it is short, else its begin and its end."""
        return self._text_of(self.stdout_path, self.SUMMARY_TRUNCATION_THRESHOLD)

    @property
    def stderr_summary(self) -> str | None:
        """The job's standard error: all of it if it is short, else its begin and its end."""
        return self._text_of(self.stderr_path, self.SUMMARY_TRUNCATION_THRESHOLD)

    @staticmethod
    def _text_of(path: str | None, limit: int | None = None) -> str | None:
        if path is None:
            return None
        try:
            return _read(path, limit)
        except OSError as error:
            # Not unusual: the job has not begun, or the file is on a node that is gone.
            logger.debug("Could not read %s: %s", path, error)
            return None


def _read(path: str, limit: int | None) -> str:
    """Read a text file, with a limit without ever holding more than that of it; what isn't UTF-8 is replaced."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if limit is None or size <= limit:
            return file.read().decode(errors="replace")
        half = limit // 2
        head = file.read(half)
        file.seek(size - half)
        tail = file.read(half)
    notice = f"\n... {size - 2 * half} bytes truncated, all is in {path} ...\n"
    return head.decode(errors="replace") + notice + tail.decode(errors="replace")
