"""Exceptions of the pilot."""

from __future__ import annotations

from parsl.executors.errors import ExecutionLost


class WorkerLost(ExecutionLost):
    """The worker process that ran the task has died.

    Args:
        worker_id: number of the worker in its pool.
        hostname: where it ran.
    """

    suspect = True

    def __init__(self, worker_id: int, hostname: str) -> None:
        super().__init__(worker_id, hostname)
        self.worker_id = worker_id
        self.hostname = hostname
        # How the process ended ("exit code 1", "signal SIGKILL"), where it is known.
        self.cause: str = ""

    def __str__(self) -> str:
        how = f" ({self.cause})" if self.cause else ""
        return f"Task failure due to loss of worker {self.worker_id} on host {self.hostname}{how}"

    def as_poison(self, times: int) -> PoisonTask:
        """Return what a task gets under which the `times`-th worker has died."""
        poison = PoisonTask(self.worker_id, self.hostname, times)
        poison.cause = self.cause
        if hasattr(self, "__notes__"):
            setattr(poison, "__notes__", [*self.__notes__])  # noqa: B010 - Python 3.10 knows no such attribute
        return poison


class PoisonTask(WorkerLost):
    """Each worker that ran the task has died, so it is not given to another.

    Args:
        worker_id: number of the last one in its pool.
        hostname: where that one ran.
        times: how many there were.
    """

    def __init__(self, worker_id: int, hostname: str, times: int = 3) -> None:
        super().__init__(worker_id, hostname)
        self.args = (worker_id, hostname, times)
        self.times = times

    def __str__(self) -> str:
        return (
            f"{super().__str__()}. It is the worker number {self.times} that died while it ran this task, which is not "
            "given to another: look for what in it crashes, exits, or takes all memory"
        )


class ManagerLost(ExecutionLost):
    """The manager of the node that ran the task is gone, or has not been heard of for the heartbeat threshold.

    Args:
        manager_id: the manager's identity.
        hostname: where it ran.
    """

    def __init__(self, manager_id: bytes | str, hostname: str) -> None:
        super().__init__(manager_id, hostname)
        self.manager_id = manager_id.decode() if isinstance(manager_id, bytes) else manager_id
        self.hostname = hostname
        # What is known of its end ("not heard of for 120 s", "SIGTERM").
        self.cause: str = ""

    @property
    def silent(self) -> bool:
        """Whether nothing is known but that it is not heard of any more."""
        return self.cause.startswith("not heard of")

    def __str__(self) -> str:
        how = f" ({self.cause})" if self.cause else ""
        return f"Task failure due to loss of manager {self.manager_id} on host {self.hostname}{how}"


class InterchangeLost(ExecutionLost):
    """The interchange process has ended while the executor needed it.

    Args:
        label: label of the executor.
        cause: how it ended.
    """

    def __init__(self, label: str, cause: str) -> None:
        super().__init__(label, cause)
        self.label = label
        self.cause = cause

    def __str__(self) -> str:
        return f"The interchange of executor {self.label} has ended: {self.cause}"


class VersionMismatch(Exception):
    """Interchange and manager are of versions that do not go together.

    Args:
        interchange_version: versions on the submitting side.
        manager_version: versions on the worker's side.
    """

    def __init__(self, interchange_version: str, manager_version: str) -> None:
        super().__init__(interchange_version, manager_version)
        self.interchange_version = interchange_version
        self.manager_version = manager_version

    def __str__(self) -> str:
        return (
            f"Version mismatch: the submitting side has {self.interchange_version}, a manager has "
            f"{self.manager_version}. Install the same versions in the environment that `worker_init` activates."
        )


class CommandClientBadError(Exception):
    """The connection for commands to the interchange is unusable since an earlier failure."""

    def __str__(self) -> str:
        return "The command client of the interchange can no longer be used"


class CommandClientTimeoutError(Exception):
    """The interchange did not answer a command in time."""

    def __str__(self) -> str:
        return "The interchange did not answer a command in time"
