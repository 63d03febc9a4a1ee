"""The contract of a provider."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobStatus
from parsl.launchers.errors import BadLauncher
from parsl.launchers.launchers import SingleNodeLauncher

if TYPE_CHECKING:
    # Not known at run time, so check_types passes anything and BadLauncher can be raised instead.
    AnyLauncher = Callable[[str, int, int], str]

__all__ = ["ExecutionProvider", "launcher_or_default"]


class ExecutionProvider(metaclass=ABCMeta):
    """Gets and gives back resources, a block at a time: three verbs towards a batch system, a cloud or this machine.

    An executor calls them off its loop, so they may block; from one thread at a time, but for a user's own calls of
    `scale_out_facade` and `scale_in_facade`, and for `cancel` at the end, which comes also while another call hangs.

    Attributes:
        nodes_per_block: Nodes in a block, at least 1.
        init_blocks: Blocks to ask for at the start.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 (as few blocks as possible) to 1 (one worker a task).
            Like the block numbers it may be changed while the provider is in use.
        resources: Job id to what is known of the job, a dict with at least the keys `job_id` and `status` and, where
            the job's output goes to files, `job_stdout_path` and `job_stderr_path`.
        script_dir: Folder for the scripts of blocks and for what they print. The executor sets it before the first
            submit, unless the user did.
        cores_per_node: Cores of each node for the executor to count on, None if the nodes are to find out.
        mem_per_node: Memory of each node in GB, None if the nodes are to find out.
    """

    nodes_per_block: int
    init_blocks: int
    min_blocks: int
    max_blocks: int
    parallelism: float
    resources: dict[str, dict[str, Any]]
    script_dir: str | None = None
    cores_per_node: int | None = None
    mem_per_node: float | None = None

    @abstractmethod
    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        """Ask for one block. When this returns the batch system has the job; it need not run yet.

        Args:
            command: Bash text: what to run in the block.
            tasks_per_node: How many copies of it on each node.
            job_name: Name for people to know the job by; need not be unique.

        Returns:
            The job's id, unique among the jobs of this provider.

        Raises:
            ExecutionProviderException: There is no such job now; the text says why.
        """

    @abstractmethod
    def status(self, job_ids: list[str]) -> list[JobStatus]:
        """Tell the status of jobs. It takes many, for a batch system is slow to answer but not slower for more.

        Args:
            job_ids: Ids from `submit`.

        Returns:
            One status for each, in the same order.

        Raises:
            ExecutionProviderException: The batch system could not be asked.
        """

    @abstractmethod
    def cancel(self, job_ids: list[str]) -> list[bool]:
        """End jobs, pending or running.

        Args:
            job_ids: Ids from `submit`.

        Returns:
            For each, in the same order, whether it is ended or about to be.

        Raises:
            ExecutionProviderException: The batch system could not be asked.
        """

    @property
    @abstractmethod
    def label(self) -> str:
        """Short name of the provider, for people."""

    @property
    @abstractmethod
    def status_polling_interval(self) -> int:
        """Seconds between two calls of `status`."""

    def _set_block_numbers(
        self, *, nodes_per_block: int, init_blocks: int, min_blocks: int, max_blocks: int, parallelism: float
    ) -> None:
        """Keep numbers of blocks that may be meant; whether they fit each other is left open, as each may change.

        Args:
            nodes_per_block: At least 1.
            init_blocks: At least 0.
            min_blocks: At least 0.
            max_blocks: At least 0.
            parallelism: At least 0.

        Raises:
            ConfigurationError: One is smaller.
        """
        numbers = {
            "nodes_per_block": (nodes_per_block, 1),
            "init_blocks": (init_blocks, 0),
            "min_blocks": (min_blocks, 0),
            "max_blocks": (max_blocks, 0),
            "parallelism": (parallelism, 0),
        }
        for name, (value, least) in numbers.items():
            # Not `value < least`, which is False for NaN.
            if not value >= least:
                owner = type(self).__name__
                raise ConfigurationError(f"{owner}: {name} has to be at least {least}, but is {value!r}")
            setattr(self, name, value)


def launcher_or_default(launcher: AnyLauncher | None) -> AnyLauncher:
    """Check a launcher; None stands for a SingleNodeLauncher.

    Raises:
        BadLauncher: It can't be called.
    """
    if launcher is None:
        return SingleNodeLauncher()
    if not callable(launcher):
        raise BadLauncher(launcher)
    return launcher
