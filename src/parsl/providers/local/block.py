"""The processes of a block on this machine: started as one group, waited for and ended as one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.errors import SubmitException

if TYPE_CHECKING:
    import subprocess

__all__ = ["Block", "end_blocks"]


class Block:
    """One block's processes, from their start to their end.

    All of them that bash starts directly inherit the writing end of a pipe that nobody writes to, so that its reading
    end tells when the last of them has gone: a group can't be waited for in another way, once its leader has ended.

    Args:
        job_name: Name of the block, for messages.
        script_path: The script to run.

    Raises:
        SubmitException: There is no bash, or the system is out of something.
    """

    def __init__(self, job_name: str, script_path: str) -> None:
        import subprocess

        self.stdout_path = f"{script_path}.stdout"
        self.stderr_path = f"{script_path}.stderr"
        self.alive, held = os.pipe()
        try:
            with open(self.stdout_path, "wb") as stdout, open(self.stderr_path, "wb") as stderr:
                self.process: subprocess.Popen[bytes] = subprocess.Popen(
                    ["bash", script_path],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                    pass_fds=(held,),
                )
        except OSError as error:
            os.close(self.alive)
            raise SubmitException(job_name, f"cannot run {script_path} with bash: {error}") from error
        finally:
            os.close(held)

    def has_ended(self) -> bool:
        """Tell whether the script has ended; then its process is reaped."""
        return self.process.poll() is not None

    @property
    def exit_code(self) -> int:
        """How the script ended, as bash would say it: 128 + n for signal n."""
        code = int(self.process.returncode)
        return code if code >= 0 else 128 - code

    def final_status(self) -> JobStatus:
        """Tell the status of a block that ended by itself."""
        code = int(self.process.returncode)
        if code == 0:
            return self.status(JobState.COMPLETED, exit_code=0)
        message = f"the script ended with exit code {code}"
        if code < 0:
            message = f"the script was ended by signal {_signal_name(-code)}"
        return self.status(JobState.FAILED, message, self.exit_code)

    def status(self, state: JobState, message: str | None = None, exit_code: int | None = None) -> JobStatus:
        """Make a status with the paths of this block."""
        return JobStatus(state, message, exit_code, self.stdout_path, self.stderr_path)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to what there is of the group."""
        # PermissionError is what macOS says of a group that has only a zombie left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def wait_gone(self, timeout: float) -> None:
        """Wait until no process that bash started holds the pipe."""
        import selectors

        with selectors.DefaultSelector() as selector:
            selector.register(self.alive, selectors.EVENT_READ)
            selector.select(max(0.0, timeout))

    def wait_reaped(self, timeout: float) -> None:
        """Wait for the end of the script."""
        import subprocess

        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)

    def release(self) -> None:
        """After the end of the script: tell its group to go, and give back what was held."""
        # The group's number is not taken again while the group has members, and else not before all other numbers were.
        self.kill(signal.SIGTERM)
        os.close(self.alive)


def end_blocks(blocks: Iterable[Block], grace: float) -> None:
    """SIGTERM to all, time for all to leave, then SIGKILL: to the leader if it stayed, and to any others of its group.

    No leader is reaped before that, so the numbers of the groups are still theirs.
    """
    for block in blocks:
        block.kill(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for block in blocks:
        block.wait_gone(deadline - time.monotonic())
        block.kill(signal.SIGKILL)
    deadline = time.monotonic() + grace
    for block in blocks:
        block.wait_reaped(max(0.0, deadline - time.monotonic()))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return str(number)
