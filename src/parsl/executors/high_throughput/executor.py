"""The pilot executor: tasks on worker processes of this machine, or of the nodes that a provider gets."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.executors.base import Call, FutureCall
from parsl.executors.errors import BadStateException, ExecutorShutDownError
from parsl.executors.high_throughput.launch_command import DEFAULT_LAUNCH_CMD, manager_command
from parsl.executors.high_throughput.lease import declared
from parsl.executors.high_throughput.manager_selector import ManagerSelector, RandomManagerSelector
from parsl.executors.high_throughput.option_values import check_values
from parsl.executors.high_throughput.pilot_blocks import PilotBlocks
from parsl.executors.high_throughput.specification import check_specification
from parsl.executors.status_handling import BlockErrorHandler
from parsl.loop import Loop
from parsl.providers.base import ExecutionProvider
from parsl.representation import RepresentationMixin
from parsl.search_path import script_path
from parsl.usage_tracking.api import UsageInformation
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging
    from parsl.dataflow.explanations import Cause
    from parsl.executors.high_throughput.client import InterchangeClient
    from parsl.executors.high_throughput.monitoring_view import MonitoringView

__all__ = ["DEFAULT_LAUNCH_CMD", "HTEXFuture", "HighThroughputExecutor"]

logger = logging.getLogger(__name__)


class HTEXFuture(Future):  # type: ignore[type-arg]  # what it holds is not known
    """The future of a call submitted directly to the executor.

    Args:
        task_id: number of the call in its executor, from 1.
    """

    def __init__(self, task_id: int) -> None:
        super().__init__()
        self.parsl_executor_task_id = task_id


class HighThroughputExecutor(PilotBlocks, RepresentationMixin, UsageInformation):
    """Runs tasks on worker processes in blocks of nodes, through a pilot: thousands of tasks a second, on any provider.

    On this side an *interchange* process holds the queue; in each node of a block a *manager* runs one *worker*
    process for each task that the node can run at once. Without a provider, a `LocalProvider` runs one block on this
    machine.

    Args:
        label: name of the executor.
        provider: where blocks of nodes come from; None for a LocalProvider.
        launch_cmd: template of the command that starts a manager; None for the package's own. Its fields are the
            options of this class, `{addresses}`, `{worker_port}` (also `{task_port}`), `{logdir}`, `{cert_dir}`,
            `{debug}` and, in double braces, `{{block_id}}`.
        interchange_launch_cmd: command that starts the interchange, as a list of words; None for the package's own.
        address: the address of this host that workers can reach; None offers all that there are.
        worker_port: port on which managers connect; None takes a free one of `worker_port_range`.
        worker_port_range: first port, and the one after the last.
        interchange_port_range: kept for earlier configurations; the interchange listens for the client on a
            file-system socket.
        loopback_address: address of this host for itself; kept for earlier configurations, an IPv6 one makes the
            interchange listen on IPv6 too.
        storage_access: staging providers, or None for the default ones.
        working_dir: folder into which files are staged.
        worker_debug: log managers and workers at debug level.
        cores_per_worker: cores of each worker; may be a fraction, to have more workers than cores.
        mem_per_worker: gigabytes that each worker needs; None for no such limit.
        max_workers_per_node: most workers on a node; None for no bound but the other limits.
        cpu_affinity: how workers are pinned to cores: 'none', 'block', 'block-reverse', 'alternating', 'list:0,1:2,3'.
        available_accelerators: names of the accelerators of a node, or how many there are; each worker gets one.
        prefetch_capacity: tasks that a node keeps in stock beyond what its workers run.
        heartbeat_threshold: seconds of silence after which the other side is lost; more than `heartbeat_period`.
        heartbeat_period: seconds between heartbeats.
        drain_period: seconds after which a manager takes no more tasks, and ends when it has none; None for never.
        poll_period: kept for earlier configurations; nothing is polled.
        address_probe_timeout: seconds that a manager looks for the interchange; None for the default of 30.
        worker_logdir_root: folder for logs of managers and workers, when the run folder cannot be reached from nodes.
        manager_selector: in which order managers are offered tasks.
        block_error_handler: see `BlockProviderExecutor`.
        encrypted: encrypt and authenticate connections between nodes (CurveZMQ). Connections within this host are
            file-system sockets in a private folder.
        remote_monitoring_radio: how tasks send monitoring messages, or None for the executor's own connection.

    Raises:
        TypeError: when an argument is of a wrong type.
        ValueError: when a value is out of its range.
    """

    radio_mode = "htex"
    stops_calls = True
    enable_mpi_mode: bool = False
    mpi_launcher: str = "mpiexec"

    @check_types
    def __init__(
        self,
        label: str = "HighThroughputExecutor",
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
        cores_per_worker: float = 1.0,
        mem_per_worker: float | None = None,
        max_workers_per_node: int | float | None = None,
        cpu_affinity: str = "none",
        available_accelerators: int | Sequence[str] = (),
        prefetch_capacity: int = 0,
        heartbeat_threshold: int = 120,
        heartbeat_period: int = 30,
        drain_period: int | None = None,
        poll_period: int = 10,
        address_probe_timeout: int | None = None,
        worker_logdir_root: str | None = None,
        manager_selector: ManagerSelector = RandomManagerSelector(),  # noqa: B008 - stateless
        block_error_handler: bool | BlockErrorHandler = True,
        encrypted: bool = True,
        worker_port: int | None = None,
        remote_monitoring_radio: Any = None,
    ) -> None:
        if provider is None:
            from parsl.providers.local.local import LocalProvider

            provider = LocalProvider()
        PilotBlocks.__init__(self, provider=provider, block_error_handler=block_error_handler)
        self.label = label
        self.launch_cmd = launch_cmd or DEFAULT_LAUNCH_CMD
        self.interchange_launch_cmd = interchange_launch_cmd
        self.address = address
        self.loopback_address = loopback_address
        self.worker_ports = worker_ports
        self.worker_port = worker_port if worker_port is not None else worker_ports[0] if worker_ports else None
        self.worker_port_range = worker_port_range
        self.interchange_port_range = interchange_port_range
        self.storage_access = storage_access
        self.working_dir = working_dir
        self.worker_debug = worker_debug
        self.cores_per_worker = cores_per_worker
        self.mem_per_worker = mem_per_worker
        self.max_workers_per_node = math.inf if max_workers_per_node is None else max_workers_per_node
        self.cpu_affinity = cpu_affinity
        self.available_accelerators: list[str] = (
            [str(i) for i in range(available_accelerators)]
            if isinstance(available_accelerators, int)
            else list(available_accelerators)
        )
        self.prefetch_capacity = prefetch_capacity
        self.heartbeat_threshold = heartbeat_threshold
        self.heartbeat_period = heartbeat_period
        self.drain_period = drain_period
        self.poll_period = poll_period
        self.address_probe_timeout = address_probe_timeout
        self.worker_logdir_root = worker_logdir_root
        self.manager_selector = manager_selector
        self.encrypted = encrypted
        self.remote_monitoring_radio = remote_monitoring_radio
        self.cert_dir: str | None = None
        self.log_config: Any = True
        self._own_loop: Loop | None = None
        self._port: int | None = None
        self._launch_template: str | None = None
        # Set by the monitoring hub: seconds between samples of what tasks use, 0 for one at the end only.
        self.monitoring_interval: float | None = None
        self._monitoring_view: MonitoringView | None = None
        check_values(self)

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def logdir(self) -> str:
        """Folder of the executor's logs."""
        return os.path.join(self.run_dir, self.label)

    @property
    def worker_logdir(self) -> str:
        """Folder of the logs of managers and workers."""
        return os.path.join(self.worker_logdir_root, self.label) if self.worker_logdir_root else self.logdir

    @property
    def in_use(self) -> bool:
        """Whether the executor has an interchange."""
        return self._client is not None

    def start(self) -> None:
        """Start the interchange and get ready to ask for blocks.

        Raises:
            InterchangeStartError: when the interchange cannot start, for example for want of a free port.
        """
        if self.loop is None:
            self.loop = self._own_loop = Loop(f"{self.label}-loop")
            self._own_loop.start()
        # An earlier run with the same object may have ended in a bad state.
        self._bad_state = None
        self._begin_blocks()
        try:
            self._client = self._start_interchange(self.loop)
            self.initialize_scaling()
        except BaseException:
            self.shutdown()
            self._stop_own_loop()
            raise

    def _start_interchange(self, loop: Loop) -> InterchangeClient:
        from parsl.executors.high_throughput.client import InterchangeClient, interchange_command
        from parsl.executors.high_throughput.interchange_config import InterchangeConfig

        os.makedirs(self.logdir, exist_ok=True)
        if self.encrypted:
            from parsl.curvezmq import create_certificates

            # An executor that is used without a kernel may find the certificates of an earlier run in its folder.
            taken = os.path.exists(os.path.join(self.logdir, "certificates"))
            self.cert_dir = create_certificates(tempfile.mkdtemp(dir=self.logdir) if taken else self.logdir)
        client = InterchangeClient(loop, self.label, self.set_bad_state_and_fail_all, self._on_monitoring)
        config = InterchangeConfig(
            client_path=client.path,
            manager_path=f"{client.store.folder}/managers",
            address=self.address,
            port=self.worker_port,
            port_range=self.worker_port_range or (54000, 55000),
            ipv6=":" in f"{self.loopback_address}{self.address}",
            cert_dir=self.cert_dir,
            segments=client.store.folder,
            sys_path=script_path(),
            heartbeat_threshold=self.heartbeat_threshold,
            logdir=os.path.abspath(self.logdir),
            monitoring=self.monitoring_interval,
        )
        try:
            self._port = client.start(
                self.interchange_launch_cmd or interchange_command(), config, self.manager_selector, self.log_config
            )
        except BaseException:
            client.store.close()
            raise
        self._watch_blocks(client)
        if self.monitoring_messages is not None:
            from parsl.executors.high_throughput.monitoring_view import MonitoringView

            self._monitoring_view = MonitoringView(self.label, client, self.monitoring_messages)
            client.on_managers = self._monitoring_view.managers_changed
        return client

    def initialize_scaling(self) -> None:
        """Compose the command that starts managers; the poller then asks for the first blocks."""
        assert self._client is not None
        assert self._port is not None
        self._launch_template = manager_command(self, self._port, self._client.store.folder)
        logger.debug("Managers are started by: %s", self._launch_template)

    def _get_launch_command(self, block_id: str) -> str:
        if self._launch_template is None:
            self.initialize_scaling()
        assert self._launch_template is not None
        # Not by another format: what was put in may have braces of its own.
        return self._launch_template.replace("{block_id}", block_id)

    def shutdown(self, timeout: float = 10.0) -> None:
        """End all blocks and the interchange; tasks that have not ended get ExecutorShutDownError.

        Args:
            timeout: kept for earlier callers; each step has a bound of its own.
        """
        del timeout
        client, self._client = self._client, None
        if client is None:
            return
        if self._monitoring_view is not None:
            self._on_loop(self._monitoring_view.leaving)
        client.shutdown()
        self.cancel_all_blocks()
        if self._monitoring_view is not None:
            self._on_loop(self._monitoring_view.gone)
            self._monitoring_view = None
        assert self.loop is not None
        self.loop.call(client.fail_all, ExecutorShutDownError(self.label))
        self._stop_own_loop()

    def _stop_own_loop(self) -> None:
        if self._own_loop is not None:
            self._own_loop.stop()
            self._own_loop.join()
            self._own_loop = self.loop = None

    # -- calls ---------------------------------------------------------------------------------------------------

    def validate_resource_spec(self, resource_specification: dict[str, Any]) -> None:
        """Check a specification: `priority`, any number, and `walltime`, seconds that the task takes at most.

        With `enable_mpi_mode` it must also say how many nodes and ranks the call needs.

        Raises:
            InvalidResourceSpecification: when it holds something else, or no block of the provider lasts so long.
        """
        check_specification(
            resource_specification or {},
            self.label,
            with_ranks=self.enable_mpi_mode,
            block_seconds=getattr(self._provider, "block_seconds", None),
        )

    def launch(self, call: Call) -> None:
        """Run a call on a worker and tell its end to `call.done`; on the loop."""
        specification = declared(call)
        if specification or self.enable_mpi_mode:
            self.validate_resource_spec(specification or {})
        # Looked at on the loop: what comes in after the executor has failed all its calls must not be added to them.
        call.executor_id = self._open_client().launch(call, specification)

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run `func(*args, **kwargs)` on a worker, for callers that use the executor without a kernel.

        Raises:
            SerializationError: when function or arguments cannot be packed.
        """
        self._open_client()
        future = HTEXFuture(0)
        call = FutureCall(func, args, kwargs, resource_specification, future)
        self._on_loop(self.launch, call)
        future.parsl_executor_task_id = call.executor_id or 0
        return future

    def submit_payload(self, context: dict[str, Any], buffer: bytes) -> HTEXFuture:
        """Run a call that was packed by `parsl.serialize.pack_apply_message`.

        Args:
            context: `{'resource_spec': {...}}` as the resource specification of the call; other entries are ignored.
            buffer: the packed call.
        """
        resources = context.get("resource_spec") or {}
        self.validate_resource_spec(resources)
        self._open_client()
        future = HTEXFuture(0)
        call = FutureCall(_packed, (), {}, resources, future)

        def launch() -> None:
            call.executor_id = self._open_client().launch_packed(call, buffer)

        self._on_loop(launch)
        future.parsl_executor_task_id = call.executor_id or 0
        return future

    def drop(self, call: Call) -> None:
        """Cancel a call unless a worker has begun it."""
        if self._client is not None:
            self._client.drop(call)

    def cancel(self, call: Call, answer: Callable[[bool], object]) -> None:
        """Drop a call wherever it is; one that runs is stopped by the end of its worker, which is replaced."""
        if self._client is None:
            answer(False)
        else:
            self._client.cancel(call, answer)

    def why_waiting(self, call: Call, answer: Callable[[Cause], object]) -> None:
        """Ask the interchange where a call is, and tell that with what is known of blocks."""
        from parsl.executors.high_throughput.why_waiting import ask

        ask(self, self._client, call, answer)

    def _open_client(self) -> InterchangeClient:
        if self._bad_state is not None:
            raise BadStateException(self, self._bad_state)
        if self._client is None:
            raise ExecutorShutDownError(self.label)
        return self._client

    def _on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        assert self.loop is not None
        return self.loop.call(function, *args)

    def _fail_all(self, exception: Exception) -> None:
        if self._client is not None and self.loop is not None:
            self.loop.post(self._client.fail_all, exception)

    @property
    def tasks(self) -> Mapping[Any, Future[Any]]:
        """The futures of calls that have not ended, by their numbers."""
        calls: Mapping[int, Any] = {} if self._client is None else dict(self._client.calls)
        return {number: getattr(call, "future", None) or call.app_fu for number, call in calls.items()}

    @property
    def _task_counter(self) -> int:
        """The number of the newest call."""
        return 0 if self._client is None else self._client.last_number

    def outstanding(self) -> int:
        """Return how many calls have been submitted and have not ended."""
        return 0 if self._client is None else len(self._client.calls)

    # -- the rest ------------------------------------------------------------------------------------------------

    def _on_monitoring(self, body: bytes) -> None:
        if self._monitoring_view is not None:
            self._monitoring_view.heard(body)
        elif self.monitoring_messages is not None:
            # Whoever has set this after the start reads messages by himself.
            self.monitoring_messages.put(body)

    def get_usage_information(self) -> dict[str, Any]:
        """Say what usage tracking may tell of this executor."""
        return {"mpi": self.enable_mpi_mode}


def _packed() -> None:
    """Stand in for the function of a call that came packed."""
