"""The executor of MPI programs: one manager for each block, which gives every task nodes of the block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.executors.high_throughput.mpi_prefix_composer import LAUNCHERS, read_specification, too_large
from parsl.executors.status_handling import BlockErrorHandler
from parsl.launchers.launchers import SimpleLauncher
from parsl.providers.base import ExecutionProvider
from parsl.providers.cluster_provider import ClusterProvider
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging

# What a worker takes is a process that waits for a program; how many there may be is said by max_workers_per_block.
_NO_CORES = 1e-6


class MPIExecutor(HighThroughputExecutor):
    """Runs MPI programs of one or several nodes, many side by side in a block of nodes, each on nodes of its own.

    A manager on the first node of each block knows the block's nodes, which the batch system has told it. Every call
    says in `parsl_resource_specification` how many it needs: at least two of `num_nodes`, `ranks_per_node` and
    `num_ranks`, which imply the third; if need be `launcher_options`, further options of the launcher as a string, and
    `priority`. The call runs on the first node once it has its nodes, and finds there, in `PARSL_MPI_PREFIX`, the
    command to put before its program.

    Tasks start in the order of priority and arrival. While one waits for nodes, later ones may use what is free, but
    not more often than lets it have its turn. A task that needs more nodes than a block has fails at once.

    Args:
        label: name of the executor.
        provider: where blocks of nodes come from; its launcher must be a `SimpleLauncher`, as the manager is to run on
            the first node alone. None for a LocalProvider.
        launch_cmd: see `HighThroughputExecutor`, as for all that is not explained here.
        interchange_launch_cmd: command that starts the interchange, as a list of words.
        address: the address of this host that the first node of a block can reach; None offers all that there are.
        loopback_address: address of this host for itself.
        worker_ports: no longer of use; see `worker_port`.
        worker_port_range: first port for managers, and the one after the last.
        interchange_port_range: kept for earlier configurations.
        storage_access: staging providers, or None for the default ones.
        working_dir: folder into which files are staged.
        worker_debug: log managers and workers at debug level.
        max_workers_per_block: most tasks to run in a block at once, at least 1; mostly the nodes of a block divided by
            those of a task.
        prefetch_capacity: tasks that a block keeps in stock beyond those that can start.
        heartbeat_threshold: seconds of silence after which the other side is lost.
        heartbeat_period: seconds between heartbeats.
        drain_period: seconds after which a manager takes no more tasks, and ends when it has none; None for never.
        poll_period: kept for earlier configurations; nothing is polled.
        address_probe_timeout: seconds that a manager looks for the interchange; None for the default of 30.
        worker_logdir_root: folder for logs of managers and workers.
        mpi_launcher: whose command `PARSL_MPI_PREFIX` is: 'mpiexec' (of MPICH, Intel MPI and the like, or Open MPI),
            'srun' or 'aprun'.
        block_error_handler: see `BlockProviderExecutor`.
        encrypted: encrypt and authenticate connections between nodes (CurveZMQ).
        worker_port: port on which managers connect; None takes a free one of `worker_port_range`.
        remote_monitoring_radio: how tasks send monitoring messages, or None for the executor's own connection.

    Raises:
        TypeError: when the provider has another launcher, or an argument is of a wrong type.
        ValueError: when `mpi_launcher` is none of those, or a value is out of its range.
    """

    enable_mpi_mode = True

    @check_types
    def __init__(
        self,
        label: str = "MPIExecutor",
        provider: ExecutionProvider | None = None,
        launch_cmd: str | None = None,
        interchange_launch_cmd: Sequence[str] | None = None,
        address: str | None = None,
        loopback_address: str = "127.0.0.1",
        worker_ports: tuple[int, int] | None = None,
        worker_port_range: tuple[int, int] | None = (54000, 55000),
        interchange_port_range: tuple[int, int] | None = (55000, 56000),
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
        worker_debug: bool = False,
        max_workers_per_block: int = 1,
        prefetch_capacity: int = 0,
        heartbeat_threshold: int = 120,
        heartbeat_period: int = 30,
        drain_period: int | None = None,
        poll_period: int = 10,
        address_probe_timeout: int | None = None,
        worker_logdir_root: str | None = None,
        mpi_launcher: str = "mpiexec",
        block_error_handler: bool | BlockErrorHandler = True,
        encrypted: bool = True,
        worker_port: int | None = None,
        remote_monitoring_radio: Any = None,
    ) -> None:
        if max_workers_per_block < 1:
            msg = f"MPIExecutor: parameter 'max_workers_per_block' must be at least 1, but got {max_workers_per_block}"
            raise ValueError(msg)
        if mpi_launcher not in LAUNCHERS:
            msg = f"MPIExecutor: parameter 'mpi_launcher' must be one of {LAUNCHERS}, but got {mpi_launcher!r}"
            raise ValueError(msg)
        if provider is None:
            from parsl.providers.local.local import LocalProvider

            provider = LocalProvider(launcher=SimpleLauncher())
        launcher = getattr(provider, "launcher", None)
        if not isinstance(launcher, SimpleLauncher):
            msg = (
                "MPIExecutor: the provider's launcher must be a SimpleLauncher, as the manager runs on the first node "
                f"of a block alone, but it is {launcher!r}"
            )
            raise TypeError(msg)
        super().__init__(
            label=label,
            provider=provider,
            launch_cmd=launch_cmd,
            interchange_launch_cmd=interchange_launch_cmd,
            address=address,
            loopback_address=loopback_address,
            worker_ports=worker_ports,
            worker_port_range=worker_port_range,
            interchange_port_range=interchange_port_range,
            storage_access=storage_access,
            working_dir=working_dir,
            worker_debug=worker_debug,
            cores_per_worker=_NO_CORES,
            max_workers_per_node=max_workers_per_block,
            prefetch_capacity=prefetch_capacity,
            heartbeat_threshold=heartbeat_threshold,
            heartbeat_period=heartbeat_period,
            drain_period=drain_period,
            poll_period=poll_period,
            address_probe_timeout=address_probe_timeout,
            worker_logdir_root=worker_logdir_root,
            block_error_handler=block_error_handler,
            encrypted=encrypted,
            worker_port=worker_port,
            remote_monitoring_radio=remote_monitoring_radio,
        )
        self.max_workers_per_block = max_workers_per_block
        self.mpi_launcher = mpi_launcher

    def validate_resource_spec(self, resource_specification: dict[str, Any]) -> None:
        """Check what a call says of nodes and ranks, and that a block of the batch system is large enough for it.

        Raises:
            MissingResourceSpecification: when it says nothing of them.
            InvalidResourceSpecification: when it says what makes no sense, or asks for more nodes than a block has.
        """
        super().validate_resource_spec(resource_specification)
        # Only of these is it known before a block has come: elsewhere the number of nodes binds nobody.
        if isinstance(self._provider, ClusterProvider):
            ranks, nodes = read_specification(resource_specification), self._provider.nodes_per_block
            if ranks.nodes > nodes:
                raise too_large(ranks, f"nodes_per_block={nodes}")

    @property
    def workers_per_node(self) -> int | float:
        """How many tasks a block runs at once, for each of its nodes: a fraction where tasks have several nodes."""
        nodes = 1 if self._provider is None else self._provider.nodes_per_block
        # Rounded up, so that the product with the number of nodes is not one less.
        return math.nextafter(super().workers_per_node / nodes, math.inf)
