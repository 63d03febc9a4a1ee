"""Tasks on a Dask cluster: one that is there, or a local one that is started for the run."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from parsl.dataflow.placement import Room
from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.errors import OptionalModuleMissing
from parsl.executors.engine import ClusterSize, EngineExecutor
from parsl.executors.errors import EngineWorkerLost, InvalidResourceSpecification
from parsl.executors.remote_call import CallFailed, failure_of, run_packed, value_of
from parsl.representation import RepresentationMixin
from parsl.search_path import script_folders
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging

logger = logging.getLogger(__name__)

# A packed call of more bytes goes to the workers as data, not through the scheduler as part of the task.
_LARGEST_IN_GRAPH = 100_000


class DaskExecutor(EngineExecutor, RepresentationMixin):
    """Runs tasks on a Dask cluster; scaling is the cluster's own business (`cluster.adapt(...)`).

    A result that only feeds further tasks on this executor stays on the cluster; it is brought here when somebody asks
    for it, as long as the kernel runs. A resource specification may hold `priority` (lower runs first, as elsewhere
    here) and abstract resources that workers of the cluster declare.

    Args:
        label: name of the executor.
        address: address of the scheduler, such as 'tcp://host:8786'; None starts a local cluster of processes, which
            ends with the kernel.
        n_workers: processes of a local cluster; None takes one for each core.
        threads_per_worker: tasks that a process of a local cluster runs at once; more than 1 only for functions that
            may run side by side in a process.
        resource_names: what the keys `cores`, `memory`, `gpus` of a specification are called by the cluster's workers,
            where that is different.
        resources: what each worker of a local cluster declares, such as {'gpus': 1}.
        keep_results: leave results that only feed further tasks of this executor on the cluster.
        client_options: further arguments of `distributed.Client`, such as `security`.
        storage_access: staging providers, or None for the default ones.
        working_dir: folder into which files are staged.

    Raises:
        OptionalModuleMissing: (at the start) when Dask is not installed.
        TypeError: when an argument is of a wrong type.
    """

    @check_types
    def __init__(
        self,
        label: str = "DaskExecutor",
        address: str | None = None,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        resource_names: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        keep_results: bool = True,
        client_options: Mapping[str, Any] | None = None,
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.label = label
        self.address = address
        self.n_workers = n_workers
        self.threads_per_worker = threads_per_worker
        self.resource_names = resource_names
        self.resources = resources
        self.keep_results = keep_results
        self.client_options = client_options
        self.storage_access = storage_access
        self.working_dir = working_dir
        self._client: Any = None
        self._path: tuple[str, ...] = ()
        # Abstract resources that workers of the cluster have.
        self._declared: set[str] = set()
        # What the courier has to do: calls that block, one after another, so that neither the kernel's loop nor the
        # engine's callbacks wait. None ends it.
        self._errands: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._wanted: list[tuple[Any, Callable[[Outcome], object]]] = []
        self._wanted_lock = threading.Lock()
        self._courier: threading.Thread | None = None
        self._size = ClusterSize(lambda: sum(self._client.nthreads().values()))

    # -- life ----------------------------------------------------------------------------------------------------

    def _start_engine(self) -> None:
        try:
            import distributed
        except ImportError as e:
            raise OptionalModuleMissing(["distributed"], "The DaskExecutor needs the extra 'dask'.") from e
        options = dict(self.client_options or {})
        if self.address is None:
            options |= {
                "n_workers": self.n_workers,
                "threads_per_worker": self.threads_per_worker,
                "dashboard_address": "127.0.0.1:0",
                "resources": dict(self.resources or {}),
            }
        client: Any = distributed.Client
        self._client = client(self.address, set_as_default=False, **options)
        self._size.start()
        self._path = script_folders()
        self._errands = SimpleQueue()
        self._courier = threading.Thread(target=self._run_errands, name=f"{self.label}-courier", daemon=True)
        self._courier.start()

    def _stop_engine(self) -> None:
        self._size.close()
        self._errands.put(None)
        if self._courier is not None:
            self._courier.join()
        # A local cluster that the client has started ends with it.
        self._client.close()
        self._client = None
        self._tell_gone()

    def _run_errands(self) -> None:
        while (errand := self._errands.get()) is not None:
            try:
                errand()
            except Exception:
                logger.exception("Executor %s could not do what it had to at the Dask cluster", self.label)

    # -- calls ---------------------------------------------------------------------------------------------------

    def room(self) -> Room | None:
        """Tell how many calls there are for how many threads of the workers, as last known."""
        return self._size.room(len(self._open)) if self._client is not None else None

    def _check_resources(self, resources: dict[str, Any]) -> None:
        wrong = {k for k, v in resources.items() if isinstance(v, bool) or not isinstance(v, (int, float))}
        if wrong:
            raise InvalidResourceSpecification(wrong, "Each must be a number: a priority, or an amount of a resource.")
        names = {(self.resource_names or {}).get(k, k): k for k in resources if k != "priority"}
        if not self._declared.issuperset(names):
            # Workers may have come that have more.
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._declared.update(name for w in workers for name in w.get("resources", {}))
        unknown = {key for name, key in names.items() if name not in self._declared}
        if unknown:
            raise InvalidResourceSpecification(
                unknown, f"No worker of the Dask cluster declares them; there are {sorted(self._declared)}."
            )

    def _send(self, number: int, packed: bytes, references: Sequence[Reference], resources: dict[str, Any]) -> Any:
        options: dict[str, Any] = {"key": f"parsl-{uuid.uuid4()}", "pure": False}
        if resources:
            names = self.resource_names or {}
            options["priority"] = -resources.get("priority", 0)
            options["resources"] = {names.get(k, k): v for k, v in resources.items() if k != "priority"}
        kept = [r.future for r in references if isinstance(r, DaskReference)]
        if len(packed) > _LARGEST_IN_GRAPH:
            self._errands.put(lambda: self._send_as_data(number, packed, kept, options))
            return None
        return self._submit(number, packed, kept, options)

    def _submit(self, number: int, packed: Any, kept: list[Any], options: dict[str, Any]) -> Any:
        future = self._client.submit(run_packed, packed, self._path, *kept, **options)
        future.add_done_callback(lambda f: self._on_end(number, f))
        return future

    def _send_as_data(self, number: int, packed: bytes, kept: list[Any], options: dict[str, Any]) -> None:
        if number not in self._open:
            return
        try:
            data = self._client.scatter(packed, hash=False)
            self._handles[number] = self._submit(number, data, kept, options)
        except Exception as e:  # noqa: BLE001 - what the engine raises is the error of this one task
            self._ended(number, Error(e))

    def _on_end(self, number: int, future: Any) -> None:
        call = self._open.get(number)
        if call is None:
            return
        reference = DaskReference(self, future)
        if future.status != "finished":
            self._errands.put(lambda: self._ended(number, self._failure(future, call.id)))
        elif self.keep_results:
            self._ended(number, Value(reference))
        else:
            reference.fetch(lambda outcome: self._ended(number, outcome))

    def _failure(self, future: Any, task_id: int) -> Outcome:
        from distributed import CancelledError as DaskCancelledError
        from distributed import KilledWorker

        try:
            exception = future.exception()
        except DaskCancelledError as e:
            # Not by us, who tell the call before: the scheduler is gone, or somebody has cancelled it there.
            exception = EngineWorkerLost(self.label, f"the cluster has dropped the task: {e}")
        if isinstance(exception, CallFailed):
            return failure_of(exception, task_id)
        if isinstance(exception, KilledWorker):
            return Error(EngineWorkerLost(self.label, str(exception)))
        return Error(exception)

    def _revoke(self, number: int, handle: Any, answer: Callable[[bool], object]) -> None:
        def revoke() -> None:
            if number not in self._open or handle.done() or self._runs(handle.key):
                answer(False)
            else:
                self._client.cancel([handle], force=True)
                answer(True)

        if handle is None:
            answer(False)
        else:
            self._errands.put(lambda: self._answering(revoke, answer))

    def _runs(self, key: str) -> bool:
        """Tell whether a worker has begun a task: then the cluster would drop its result and still do the work."""
        assigned = any(key in keys for keys in self._client.processing().values())
        return assigned and any(key in stacks for stacks in self._client.call_stack(keys=[key]).values())

    @staticmethod
    def _answering(errand: Callable[[], object], answer: Callable[[bool], object]) -> None:
        try:
            errand()
        except Exception:
            answer(False)
            raise

    # -- results -------------------------------------------------------------------------------------------------

    def bring(self, future: Any, done: Callable[[Outcome], object]) -> None:
        """Have the value of a future brought; what is asked for meanwhile comes along in one go."""
        with self._wanted_lock:
            self._wanted.append((future, done))
            first = len(self._wanted) == 1
        if self._client is None:
            self._tell_gone()
        elif first:
            self._errands.put(self._gather)

    def _tell_gone(self) -> None:
        words = "a result that has stayed on the cluster is gone with it: ask for it before the kernel ends"
        for _, done in self._take_wanted():
            done(Error(EngineWorkerLost(self.label, words)))

    def _take_wanted(self) -> list[tuple[Any, Callable[[Outcome], object]]]:
        with self._wanted_lock:
            wanted, self._wanted = self._wanted, []
        return wanted

    def _gather(self) -> None:
        wanted = self._take_wanted()
        try:
            packed = self._client.gather([future for future, _ in wanted])
        except Exception:  # noqa: BLE001 - found out one by one
            for future, done in wanted:
                done(self._gathered(future))
            return
        for (_, done), data in zip(wanted, packed, strict=True):
            done(value_of(data))

    def _gathered(self, future: Any) -> Outcome:
        try:
            return value_of(future.result())
        except Exception as e:  # noqa: BLE001 - whatever the engine says is why the value cannot be had
            return Error(EngineWorkerLost(self.label, f"the result could not be brought from the cluster: {e}"))


class DaskReference(Reference):
    """A result on a Dask cluster.

    Args:
        executor: the executor whose cluster keeps it.
        future: Dask's own future of it.
    """

    def __init__(self, executor: DaskExecutor, future: Any) -> None:
        super().__init__(executor.label)
        self.future = future
        self._owner = executor

    def fetch(self, done: Callable[[Outcome], object]) -> None:
        """Have the value brought from the cluster."""
        self._owner.bring(self.future, done)
