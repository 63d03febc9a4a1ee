"""The kernel's part in explaining: what a task waits for, and how all stands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from parsl.app.futures import DataFuture
from parsl.data_provider.transfer import Transfer
from parsl.dataflow.explanations import (
    Cause,
    ExecutorStatus,
    Explanation,
    Reason,
    Status,
    Step,
    Trail,
    span,
    waits_for,
)
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.states import FINAL_STATES, States
from parsl.loop import LoopClosedError

if TYPE_CHECKING:
    from parsl.dataflow.admission import Admission
    from parsl.dataflow.remembering import Remembering
    from parsl.dataflow.taskrecord import TaskRecord
    from parsl.dataflow.telling import Telling
    from parsl.executors.base import ParslExecutor
    from parsl.loop import Loop

# So long an executor may take to say where a task is.
ANSWER_SECONDS = 5.0

Answer = Callable[[Explanation], object]


class Explaining:
    """Says what a task waits for. All but `explain` and `status` is called on the loop."""

    executors: Mapping[str, ParslExecutor]
    loop: Loop
    run_dir: str
    run_id: str
    _admission: Admission | None
    _counts: dict[States, int]
    _on_loop: Callable[..., None]
    _remembering: Remembering
    _telling: Telling
    describe: Callable[[Future[Any]], str]

    def explain(self, future: AppFuture[Any] | DataFuture) -> Explanation:
        """Say why a task has not ended: which task, queue, block or transfer keeps it.

        Printed, the answer is a few lines: the task, what it waits for, what that waits for, down to what keeps them
        all. Nothing of the task changes. Of several things that a task waits for, the first is followed up.

        Args:
            future: what an app returned, or the future of a file; of this kernel.

        Returns:
            The explanation; at a thread of the kernel's own (a retry handler, a memoizer) without the executor's word.

        Raises:
            TypeError: for what is no such future.
            ValueError: for a future of another kernel.
        """
        task = _task_behind(future)
        if task is None:
            msg = f"explain() takes the future of an app or of a file, but got {future!r:.200}"
            raise TypeError(msg)
        if not self._is_ours(task):
            msg = f"task {task.id} ({task.func_name}) belongs to another kernel: ask that one"
            raise ValueError(msg)
        if self.loop.on_loop():
            return self._follow(task)[0].explanation()
        answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        try:
            explanation: Explanation = self.loop.ask(
                lambda: self.explain_soon(task, lambda found: answers.put((True, found))), answers
            )
        except LoopClosedError:
            return self._follow(task)[0].explanation()
        return explanation

    def explain_soon(self, task: TaskRecord, answer: Answer) -> None:
        """Find out why a task has not ended; `answer` is told, once, on the loop."""
        trail, last = self._follow(task)
        if last is None:
            answer(trail.explanation())
            return
        executor = self.executors[last.executor]
        told = False

        def tell(cause: Cause) -> None:
            nonlocal told
            if not told:
                told = True
                timer.cancel()
                answer(trail.explanation(cause))

        silent = Cause(
            Reason.UNKNOWN,
            f"is with executor {executor.label}, which did not say within {ANSWER_SECONDS:g} s where it is",
        )
        timer = self.loop.call_later(ANSWER_SECONDS, tell, silent)
        try:
            # From whichever thread the executor answers.
            executor.why_waiting(last, lambda cause: self.loop.post(tell, cause))
        except Exception as e:  # noqa: BLE001 - an executor may be a user's
            tell(Cause(Reason.UNKNOWN, f"is with executor {executor.label}, which failed to say where it is: {e!r}"))

    # -- following the chain -------------------------------------------------------------------------------------

    def _follow(self, task: TaskRecord) -> tuple[Trail, TaskRecord | None]:
        """Go from a task to what keeps it; return with the steps the task that an executor has, if it ends with one."""
        trail, seen = Trail(), set[int]()
        while True:
            seen.add(task.id)
            cause, behind = self._cause(task)
            if behind is not None and behind.id in seen:
                text = f"waits for task {behind.id} ({behind.func_name}), which waits for it: neither will ever end"
                trail.add(Step(task.id, task.func_name, Cause(Reason.CIRCLE, text)))
                return trail, None
            trail.add(Step(task.id, task.func_name, cause))
            if behind is None:
                return trail, task if cause.reason is Reason.UNKNOWN else None
            task = behind

    def _cause(self, task: TaskRecord) -> tuple[Cause, TaskRecord | None]:
        """Say what a task waits for, and name the task behind that, if it is one."""
        state = task.status
        if state in FINAL_STATES:
            return Cause(Reason.ENDED, f"has ended: {state.name}"), None
        if state is States.unsched:
            return Cause(Reason.READY, "has just been submitted, and the kernel has not looked at it yet"), None
        if task.checkpoint:
            return Cause(Reason.SAVING, "has its result, which is being written to the checkpoint first"), None
        if state is States.joining:
            joins = task.joins if isinstance(task.joins, list) else [task.joins]
            return self._among(Reason.JOINING, "futures that it returned", joins)
        if state is States.launched:
            since = time.time() - (task.try_launched or time.time())
            return Cause(Reason.UNKNOWN, f"has been with executor {task.executor} for {span(since)}"), None
        if task.waiting and task.depends:
            return self._among(Reason.DEPENDENCY, "arguments", task.depends)
        if task.waiting:
            return self._remembered(task)
        return Cause(Reason.READY, "waits for nothing, and is about to be launched"), None

    def _among(self, reason: Reason, what: str, futures: Sequence[Future[Any]]) -> tuple[Cause, TaskRecord | None]:
        still = [f for f in futures if not f.done()]
        if not still:
            return Cause(Reason.FUTURE, "waits for a result to be brought here from the engine that holds it"), None
        first = still[0]
        behind = _task_behind(first)
        if behind is None:
            file = f" for {first.file_obj}" if isinstance(first, DataFuture) else ""
            reason = Reason.TRANSFER if file else Reason.FUTURE
            text = f"{getattr(first, 'parent', first)!r:.200}{file}, of which nothing more is known here"
            return waits_for(reason, what, len(still), len(futures), text), None
        if not self._is_ours(behind):
            words = f"task {behind.id} ({behind.func_name}) of another kernel"
            return waits_for(Reason.FUTURE, what, len(still), len(futures), words), None
        transfer = next((a for a in behind.args if isinstance(a, Transfer)), None)
        words = f"task {behind.id} ({behind.func_name})"
        if transfer is not None:
            reason, words = Reason.TRANSFER, f"{words}, a transfer of a file ({transfer})"
        return waits_for(reason, what, len(still), len(futures), words), behind

    def _is_ours(self, task: TaskRecord) -> bool:
        kernel: object = task.dfk
        return kernel is self

    def _remembered(self, task: TaskRecord) -> tuple[Cause, TaskRecord | None]:
        twin = None if task.hashsum is None else self._remembering.running.get(task.hashsum)
        if twin is None or twin is task:
            return Cause(Reason.MEMOIZER, "waits for the memoizer to say whether the call is remembered"), None
        text = f"waits for task {twin.id} ({twin.func_name}), an equal call whose result it will share"
        return Cause(Reason.TWIN, text), twin

    # -- how all stands ------------------------------------------------------------------------------------------

    @property
    def task_state_counts(self) -> dict[States, int]:
        """How many tasks are in each state."""
        if self._remembering.answered:
            self._on_loop(self._remembering.count_answered)
        return self._counts

    def log_task_states(self) -> None:
        """Write to the log how many tasks are in each state."""
        self._telling.summary(self.task_state_counts)

    def status(self) -> Status:
        """Say how the run stands: tasks by state, and each executor with its blocks; from any thread, quickly."""
        tasks = {state.name: count for state, count in self.task_state_counts.items() if count}
        executors = {label: _status_of(executor) for label, executor in self.executors.items()}
        admission = self._admission
        return Status(
            run_id=self.run_id,
            run_dir=self.run_dir,
            tasks=tasks,
            executors=executors,
            max_outstanding=None if admission is None else admission.limit,
            held_back=0 if admission is None else admission.held_back,
        )


def _task_behind(future: Any) -> TaskRecord | None:
    """Return the task that ends a future; None when it is none of ours."""
    while isinstance(future, DataFuture):
        future = future.parent
    return future.task_record if isinstance(future, AppFuture) else None


def _status_of(executor: Any) -> ExecutorStatus:
    """Describe an executor, as far as it tells."""
    outstanding = getattr(executor, "outstanding", None)
    blocks = getattr(executor, "status_facade", None) or {}
    trouble = getattr(executor, "executor_exception", None)
    return ExecutorStatus(
        kind=type(executor).__name__,
        outstanding=outstanding() if callable(outstanding) else outstanding,
        workers=getattr(executor, "connected_workers", None),
        blocks=dict(Counter(status.state.name for status in blocks.values())),
        trouble=None if trouble is None else str(trouble),
    )
