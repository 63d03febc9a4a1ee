"""Tasks on a Ray cluster: one that is there, or a local one that is started for the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from parsl.dataflow.placement import Room
from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.engine import ClusterSize, EngineExecutor
from parsl.executors.errors import EngineWorkerLost, InvalidResourceSpecification
from parsl.executors.remote_call import (
    NO_ARGUMENTS,
    CallFailed,
    failure_of,
    join_parts,
    pack_parts,
    run_packed,
    value_of,
)
from parsl.representation import RepresentationMixin
from parsl.search_path import script_folders
from parsl.serialize.facade import stays_the_same
from parsl.validation import check_types

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl.data_provider.staging import Staging
    from parsl.executors.base import Call

logger = logging.getLogger(__name__)

# What Ray calls the keys of a specification that all executors share; other keys are resources of the cluster's own.
_OPTIONS = {"cores": "num_cpus", "gpus": "num_gpus", "memory": "memory"}

# Ray sends results up to 100 KB with the word that a task has ended; this leaves room for what it adds.
_SMALL_BYTES = 64 * 1024

# So many functions are made remote functions of their own.
_MOST_OWN = 500


class RayExecutor(EngineExecutor, RepresentationMixin):
    """Runs tasks on a Ray cluster; scaling is left to Ray's own autoscaler.

    A result of more than 64 KB that only feeds further tasks on this executor stays in Ray's object store; it is
    brought here when somebody asks for it, as long as the kernel runs. A resource specification may hold `cores`,
    `gpus`, `memory` (megabytes) and the cluster's own resources.

    Args:
        label: name of the executor.
        address: address of the cluster, such as 'host:6379' or 'auto'; None starts a local one, which ends with the
            kernel. A program that has called `ray.init` already keeps that connection, whatever stands here.
        num_cpus: tasks that a local cluster runs at once; None takes one for each core.
        keep_results: leave results that only feed further tasks of this executor in the object store.
        max_retries: how often Ray starts a task anew whose worker it has lost, before the task is lost for us.
        init_options: further arguments of `ray.init`.
        storage_access: staging providers, or None for the default ones.
        working_dir: folder into which files are staged.

    Raises:
        OptionalModuleMissing: (at the start) when Ray is not installed.
        TypeError: when an argument is of a wrong type.
    """

    @check_types
    def __init__(
        self,
        label: str = "RayExecutor",
        address: str | None = None,
        num_cpus: int | None = None,
        keep_results: bool = True,
        max_retries: int = 0,
        init_options: Mapping[str, Any] | None = None,
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.label = label
        self.address = address
        self.num_cpus = num_cpus
        self.keep_results = keep_results
        self.max_retries = max_retries
        self.init_options = init_options
        self.storage_access = storage_access
        self.working_dir = working_dir
        self._ray: Any = None
        # Makes whatever call it is given.
        self._task: Any = None
        # For functions that have been called before: one of their own, None after their first call.
        self._tasks: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()
        self._own = 0
        self._began_here = False
        self._size = ClusterSize(lambda: self._ray.cluster_resources().get("CPU", 0))
        # Resources of the cluster.
        self._declared: set[str] = set()

    # -- life ----------------------------------------------------------------------------------------------------

    def _start_engine(self) -> None:
        try:
            import ray
        except ImportError as e:
            raise OptionalModuleMissing(["ray"], "The RayExecutor needs the extra 'ray'.") from e
        self._began_here = not ray.is_initialized()
        if self._began_here:
            self._connect(ray)
        self._ray = ray
        self._task = self._remote(b"")
        self._tasks.clear()
        self._own = 0
        self._size.start()

    def _remote(self, head: bytes) -> Any:
        """Make a remote function of Ray, for calls that begin with what is packed in `head`."""
        # With the function, which Ray sends once: as an argument, each task would first have to get hold of it.
        path = script_folders()

        def run(packed: bytes = join_parts(NO_ARGUMENTS), *kept: bytes) -> tuple[bytes | None, bytes | None]:
            return _run(path, head + packed, *kept)

        return self._ray.remote(num_returns=2, max_retries=self.max_retries)(run)

    def _connect(self, ray: Any) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, **(self.init_options or {})}
        if self.address is None:
            options |= {"num_cpus": self.num_cpus, "include_dashboard": False, "address": "local"}
        else:
            options["address"] = self.address
        try:
            ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError) as e:
            where = "a local Ray cluster" if self.address is None else f"the Ray cluster at {self.address}"
            msg = f"Executor {self.label} cannot reach {where}: {e}"
            raise ConfigurationError(msg) from e

    def _stop_engine(self) -> None:
        self._size.close()
        ray, self._ray = self._ray, None
        self._task = None
        if self._began_here:
            ray.shutdown()

    # -- calls ---------------------------------------------------------------------------------------------------

    def room(self) -> Room | None:
        """Tell how many calls there are for how many CPUs of the cluster, as last known."""
        return self._size.room(len(self._open)) if self._ray is not None else None

    def _check_resources(self, resources: dict[str, Any]) -> None:
        wrong = {k for k, v in resources.items() if isinstance(v, bool) or not isinstance(v, (int, float)) or v < 0}
        if wrong:
            raise InvalidResourceSpecification(wrong, "Each must be an amount of a resource, 0 or more.")
        others = set(resources).difference(_OPTIONS)
        if not self._declared.issuperset(others):
            # Nodes may have come that have more.
            self._declared.update(self._ray.cluster_resources())
        unknown = others - self._declared
        if unknown:
            known = sorted({*_OPTIONS, *(name for name in self._declared if ":" not in name)})
            raise InvalidResourceSpecification(unknown, f"The Ray cluster has only {known}.")

    def _pack(self, call: Call) -> tuple[tuple[Any, list[bytes]], Sequence[Reference]]:
        parts, references = pack_parts(call.func, call.args, call.kwargs)
        task = self._task_of(call.func, parts[:2])
        if task is None:
            return (self._task, [join_parts(parts)]), references
        arguments = parts[2:]
        # An argument costs Ray more than all that we do.
        return (task, [] if arguments == NO_ARGUMENTS else [join_parts(arguments)]), references

    def _task_of(self, function: Callable[..., Any], packed: list[bytes]) -> Any:
        """Return the remote function that makes calls of a function, and of no other; None where there is none.

        Ray keeps what it has sent as long as the program runs. So there is one only for what is called a second time,
        and for so many functions.
        """
        if not stays_the_same(function):
            return None
        task = self._tasks.get(function)
        if task is None:
            again = function in self._tasks
            if again and self._own < _MOST_OWN:
                self._own += 1
                task = self._remote(join_parts(packed))
            self._tasks[function] = task
        return task

    def _send(
        self,
        number: int,
        packed: tuple[Any, list[bytes]],
        references: Sequence[Reference],
        resources: dict[str, Any],
    ) -> Any:
        task, call = packed
        if resources:
            options: dict[str, Any] = {_OPTIONS[k]: v for k, v in resources.items() if k in _OPTIONS}
            if "memory" in options:
                options["memory"] = int(options["memory"] * 2**20)
            task = task.options(**options, resources={k: v for k, v in resources.items() if k not in _OPTIONS})
        ended, result = task.remote(*call, *[r.object for r in references if isinstance(r, RayReference)])
        ended.future().add_done_callback(lambda f: self._on_end(number, f, result))
        return ended

    def _on_end(self, number: int, ended: Future[bytes | None], result: Any) -> None:
        call = self._open.get(number)
        if call is None:
            return
        exception = ended.exception()
        if exception is not None:
            # The result has the same exception, of which Ray would say that nobody looked at it.
            result.future().add_done_callback(lambda f: f.exception())
            self._ended(number, self._failure(exception, call.id))
            return
        small = ended.result()
        if small is not None:
            self._ended(number, value_of(small))
            return
        reference = RayReference(self, result)
        if self.keep_results:
            self._ended(number, Value(reference))
        else:
            reference.fetch(lambda outcome: self._ended(number, outcome))

    def _failure(self, exception: BaseException, task_id: int) -> Outcome:
        from ray.exceptions import (
            NodeDiedError,
            OutOfMemoryError,
            RayTaskError,
            TaskCancelledError,
            WorkerCrashedError,
        )

        cause = exception.cause if isinstance(exception, RayTaskError) else exception
        if isinstance(cause, CallFailed):
            return failure_of(cause, task_id)
        if isinstance(cause, TaskCancelledError):
            return Error(CancelledError(f"task {task_id} was cancelled"))
        if isinstance(cause, (NodeDiedError, OutOfMemoryError, WorkerCrashedError)):
            return Error(EngineWorkerLost(self.label, str(cause)))
        return Error(cause)

    def _revoke(self, number: int, handle: Any, answer: Callable[[bool], object]) -> None:
        # Ray drops a task that waits, and interrupts one that runs; it may have ended all the same.
        self._ray.cancel(handle)
        handle.future().add_done_callback(lambda ended: answer(ended.exception() is not None))

    # -- results -------------------------------------------------------------------------------------------------

    def bring(self, result: Any, done: Callable[[Outcome], object]) -> None:
        """Have a result brought from the object store."""
        if self._ray is None:
            words = "a result that has stayed in Ray's object store is gone with it: ask for it before the kernel ends"
            done(Error(EngineWorkerLost(self.label, words)))
            return

        def arrived(future: Future[bytes]) -> None:
            exception = future.exception()
            if exception is None:
                done(value_of(future.result()))
            else:
                words = f"the result could not be brought from Ray's object store: {exception}"
                done(Error(EngineWorkerLost(self.label, words)))

        result.future().add_done_callback(arrived)


class RayReference(Reference):
    """A result in Ray's object store.

    Args:
        executor: the executor whose cluster keeps it.
        object: Ray's own reference to it.
    """

    def __init__(self, executor: RayExecutor, object: Any) -> None:  # noqa: A002 - what Ray calls it
        super().__init__(executor.label)
        self.object = object
        self._owner = executor

    def fetch(self, done: Callable[[Outcome], object]) -> None:
        """Have the value brought from the object store."""
        self._owner.bring(self.object, done)


def _run(path: Sequence[str], packed: bytes, *kept: bytes) -> tuple[bytes | None, bytes | None]:
    """Make a packed call; on Ray's worker.

    Returns:
        Two results, of which one is None: a small one comes with the word that the task has ended; a large one stays in
        the object store, and the first says that the task has ended without bringing it.
    """
    result = run_packed(packed, path, *kept)
    return (result, None) if len(result) <= _SMALL_BYTES else (None, result)
