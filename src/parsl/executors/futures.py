"""Any executor of the standard interface, `concurrent.futures.Executor`, as one of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures._base import BrokenExecutor
from typing import TYPE_CHECKING, Any

from parsl.dataflow.placement import Room
from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome
from parsl.executors.engine import EngineExecutor
from parsl.executors.errors import EngineWorkerLost, InvalidResourceSpecification
from parsl.executors.remote_call import CallFailed, failure_of, pack_parts, run_parts, value_of
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging
    from parsl.executors.base import Call

logger = logging.getLogger(__name__)


class FuturesExecutor(EngineExecutor, RepresentationMixin):
    """Runs tasks on whatever speaks `concurrent.futures`: a ProcessPoolExecutor, mpi4py.futures, executorlib, loky.

    Args:
        executor: what makes the executor, a function without parameters such as
            `functools.partial(ProcessPoolExecutor, 8)`: it is called at the start, again after the pool has broken, and
            what it made is shut down at the end. Or an executor that is there, which is left running at the end.
        label: name of the executor.
        resource_keyword: the parameter of the executor's `submit` that takes a task's resource specification, such as
            `resource_dict` of executorlib; None where there is no such, and specifications are refused.
        storage_access: staging providers, or None for the default ones.
        working_dir: folder into which files are staged.

    Raises:
        TypeError: when an argument is of a wrong type.
    """

    @check_types
    def __init__(
        self,
        executor: Executor | Callable[[], Executor],
        label: str = "futures",
        resource_keyword: str | None = None,
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.executor = executor
        self.label = label
        self.resource_keyword = resource_keyword
        self.storage_access = storage_access
        self.working_dir = working_dir
        self._pool: Executor | None = None
        self._broken = False
        # Those of a ProcessPoolExecutor by process id, a table that the pool itself forgets when it ends.
        self._workers: dict[int, Any] = {}

    def _start_engine(self) -> None:
        self._broken = False
        self._take(self._made())

    def _made(self) -> Executor:
        return self.executor if isinstance(self.executor, Executor) else self.executor()

    def _stop_engine(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None and not isinstance(self.executor, Executor):
            if self._broken:
                self._kill_workers()
            # Calls that run can't be stopped, and nobody waits for them any more.
            pool.shutdown(wait=True, cancel_futures=True)

    def room(self) -> Room | None:
        """Tell how many calls there are, for how many workers, if the pool lets that be known."""
        slots = getattr(self._pool, "_max_workers", None)
        return Room(len(self._open), slots, slots) if isinstance(slots, int) else None

    def _check_resources(self, resources: dict[str, Any]) -> None:
        if self.resource_keyword is None:
            raise InvalidResourceSpecification(
                set(resources), f"Executor {self.label} has no resource_keyword, so it takes no resource specification."
            )

    def _pack(self, call: Call) -> tuple[list[bytes], Sequence[Reference]]:
        return pack_parts(call.func, call.args, call.kwargs)

    def _send(
        self, number: int, packed: list[bytes], references: Sequence[Reference], resources: dict[str, Any]
    ) -> Future[Any]:
        options: dict[str, Any] = {self.resource_keyword: resources} if self.resource_keyword and resources else {}
        assert self._pool is not None
        try:
            future: Future[Any] = self._pool.submit(run_parts, *packed, **options)
        except BrokenExecutor as e:
            if isinstance(self.executor, Executor):
                advice = "give the executor a function that makes the pool, and it is replaced when it breaks"
                raise EngineWorkerLost(self.label, f"{e}; {advice}") from e
            self._replace(self._pool)
            future = self._pool.submit(run_parts, *packed, **options)
        future.add_done_callback(lambda f: self._on_end(number, f))
        return future

    def _replace(self, broken: Executor) -> None:
        logger.warning("The pool of executor %s is broken and is replaced by a new one", self.label)
        self._kill_workers()
        broken.shutdown(wait=False)
        self._take(self._made())
        self._broken = False

    def _take(self, pool: Executor) -> None:
        self._pool = pool
        self._workers = getattr(pool, "_processes", None) or {}

    def _kill_workers(self) -> None:
        """Kill the processes of a broken pool.

        A ProcessPoolExecutor ends those that it knows when it breaks, and then waits for all; one that it starts for a
        call that comes at that moment would be waited for in vain, also at the end of the program.
        """
        for worker in list(self._workers.values()):
            worker.kill()

    def _on_end(self, number: int, future: Future[Any]) -> None:
        call = self._open.get(number)
        if call is None:
            return
        outcome: Outcome
        try:
            outcome = value_of(future.result())
        except CallFailed as e:
            outcome = failure_of(e, call.id)
        except CancelledError as e:
            outcome = Error(e)
        except BrokenExecutor as e:
            self._broken = True
            outcome = Error(EngineWorkerLost(self.label, str(e)))
        except BaseException as e:  # noqa: BLE001 - what the executor itself raises is the error of this one task
            outcome = Error(e)
        self._ended(number, outcome)

    def _revoke(self, number: int, handle: Future[Any], answer: Callable[[bool], object]) -> None:
        answer(handle.cancel())
