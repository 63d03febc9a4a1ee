"""The brain of the kernel: which task may run, and what becomes of one that ended.

`TaskGraph` is a plain object. Events come in as method calls, always on the same thread; what is to be done goes out
through `Effects`. It knows no executor, no thread, no socket and no clock. Nothing here recurses: whatever one
event sets off is put on a work list, so that a chain of any length resolves on a flat stack.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Protocol

from parsl.app.exception_codec import shown
from parsl.dataflow.errors import DependencyError, JoinError
from parsl.dataflow.futures import AppFuture, LazyFuture
from parsl.dataflow.states import FINAL_STATES, LEGAL, States
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord, Value
from parsl.errors import InternalConsistencyError
from parsl.executors.errors import ExecutionLost

if TYPE_CHECKING:
    from parsl.dataflow.dependency_resolvers import DependencyResolver

logger = logging.getLogger(__name__)

# Of the exception, mostly written for `Exception` alone, and of the task.
RetryHandler = Callable[[Any, TaskRecord], float]

# A task under which so many workers have died is what kills them.
POISONOUS = 3

_WAITING = frozenset({States.pending, States.joining})


class Effects(Protocol):
    """What the graph asks of the kernel."""

    def launch(self, task: TaskRecord) -> None:
        """Start an attempt at `task`, whose arguments are values now; its end comes back as `attempt_done`."""

    def runs_again(self, task: TaskRecord, loss: ExecutionLost) -> bool:
        """Tell whether there is anything that would run `task` again, which was lost."""

    def moved(self, task: TaskRecord, old: States) -> None:
        """Take note that `task` left state `old` for the one it has now."""

    def save(self, task: TaskRecord, outcome: Value) -> bool:
        """Remember the result of `task`; False when that takes until `saved(task, outcome)` comes in."""

    def settle(self, task: TaskRecord, outcome: Outcome) -> None:
        """Give the task's future its outcome; the task is final."""

    def when_done(self, future: Future[Any], task: TaskRecord) -> None:
        """See to it that `dependency_done(task)` comes in once `future`, which is not of this graph, is done."""

    def bring(self, future: AppFuture[Any], task: TaskRecord) -> None:
        """Have the value brought for which a reference stands in `future`; then comes `brought`."""

    def cancel(self, task: TaskRecord) -> None:
        """Cancel `task` if that is possible: the join app that has called it is cancelled."""

    def describe(self, future: Future[Any]) -> str:
        """Name a future in the message of an error."""


class TaskGraph:
    """The state machine of all tasks of a kernel.

    Args:
        effects: what carries out the graph's decisions.
        resolver: finds the futures in arguments, and replaces them by their results.
        retries: how much failing a task may cost before it has failed for good.
        retry_handler: gives the cost of a failure; None makes each cost 1.
        joining: the resolver for join apps; None takes `resolver`.
        system_retries: how often a task may be lost with what ran it before it has failed for good; that costs nothing.
            With 0, a loss is a failure like any other.
    """

    def __init__(
        self,
        effects: Effects,
        resolver: DependencyResolver,
        retries: int = 0,
        retry_handler: RetryHandler | None = None,
        joining: DependencyResolver | None = None,
        system_retries: int = 0,
    ) -> None:
        self._effects = effects
        self._unwrap_for = {False: resolver.traverse_to_unwrap, True: (joining or resolver).traverse_to_unwrap}
        self._retries = retries
        self._retry_handler = retry_handler
        self._system_retries = system_retries
        self._ready: deque[TaskRecord] = deque()
        # Tasks that are to be cancelled, each with the number of the one on which it depends.
        self._doomed: deque[tuple[TaskRecord, int]] = deque()
        self._draining = False

    # -- events --------------------------------------------------------------------------------------------------

    def add(self, task: TaskRecord) -> None:
        """A task was submitted: launch it as soon as what it depends on is done."""
        if task.status is not States.unsched:
            return  # it was made to fail on its way here
        self._move(task, States.pending)
        if task.depends:
            self._wait_for(task, task.depends)
        self.look(task)

    def dependency_done(self, task: TaskRecord) -> None:
        """One of the futures that `task` waits for is done."""
        task.waiting -= 1
        if task.waiting == 0:
            self._ready.append(task)
            self._drain()

    def brought(self, future: AppFuture[Any], task: TaskRecord, outcome: Outcome) -> None:
        """The value of `future`, for which `task` waits, has come from an engine, or cannot be had."""
        if isinstance(outcome, Value):
            future.brought(outcome.result)
            self.dependency_done(task)
        elif task.status not in FINAL_STATES:
            failure = outcome.exception, self._effects.describe(future)
            self._finish(task, States.dep_fail, Error(DependencyError([failure], task.id)))
            self._drain()

    def may_stay(self, task: TaskRecord) -> bool:
        """Tell whether the result of `task` can stay with its engine: only tasks of that engine wait for it."""
        waiting = task.dependents
        return bool(waiting) and not task.memoize and not any(_needs_values(t, task.executor) for t in waiting)

    def attempt_done(self, task: TaskRecord, outcome: Outcome) -> None:
        """The attempt that `launch` started has ended."""
        if task.checkpoint or task.status in _WAITING:
            return  # the executor tells the same end twice
        if task.status in FINAL_STATES:
            if task.memoize and isinstance(outcome, Value) and not task.join:
                self._end_well(task, outcome)  # it was made to fail meanwhile, but this result may serve another call
            return
        if isinstance(outcome, Error):
            self._attempt_failed(task, outcome.exception)
        elif task.join:
            self._begin_join(task, outcome.result)
        else:
            self._end_well(task, outcome)
        self._drain()

    def saved(self, task: TaskRecord, outcome: Value) -> None:
        """The result of `task` is safe: its future may be told."""
        if task.status not in FINAL_STATES:
            self._finish(task, States.exec_done, outcome)
            self._drain()

    def recalled(self, task: TaskRecord) -> None:
        """A call was answered at once with the outcome of an earlier equal one; its future is settled."""
        task.status = States.memo_done
        self._effects.moved(task, States.unsched)

    def memo_found(self, task: TaskRecord, outcome: Outcome) -> None:
        """The outcome of `task` is known from an earlier call; answers a `launch`."""
        self._finish(task, States.memo_done, outcome)
        self._drain()

    def fail(self, task: TaskRecord, exception: BaseException) -> None:
        """Make `task` fail for good, wherever it stands."""
        if task.status is States.unsched:
            self._move(task, States.pending)
        if task.status not in FINAL_STATES:
            self._finish(task, States.failed, Error(exception))
            self._drain()

    def launched(self, task: TaskRecord) -> None:
        """The kernel is handing `task` to its executor; answers a `launch`."""
        self._move(task, States.launched)

    def look(self, task: TaskRecord) -> None:
        """Look whether what `task` waits for is done, and if so let it go on."""
        if task.status in _WAITING and not task.waiting:
            self._ready.append(task)
            self._drain()

    def move(self, task: TaskRecord, state: States) -> None:
        """Put `task` into another state, which the table of legal moves must allow."""
        if state not in LEGAL[task.status]:
            msg = f"task {task.id} cannot go from {task.status.name} to {state.name}"
            raise InternalConsistencyError(msg)
        self._move(task, state)

    def cancel(self, task: TaskRecord) -> bool:
        """Cancel `task` unless an executor has it; return whether it is cancelled."""
        if task.status is not States.launched and not task.app_fu.done():
            joins = task.joins if isinstance(task.joins, list) else [task.joins]
            self.fail(task, CancelledError(f"task {task.id} was cancelled"))
            for future in joins:
                # What is older was not called by this join app, but given to it.
                if isinstance(future, AppFuture) and future.task_record.dfk is task.dfk and future.tid > task.id:
                    self._effects.cancel(future.task_record)
        return task.app_fu.cancelled()

    # -- the work list -------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Handle all tasks that have become ready; a call from within returns at once."""
        if self._draining:
            return
        self._draining = True
        try:
            while self._ready or self._doomed:
                if self._doomed:
                    self._cancel_with(*self._doomed.popleft())
                    continue
                task = self._ready.popleft()
                if task.waiting:
                    continue  # it stood there twice, and the first time has brought it to wait for something else
                try:
                    if task.status is States.joining:
                        self._end_join(task)
                    elif task.status is States.pending:
                        self._launch(task)
                except Exception as e:  # noqa: BLE001 - futures that are not ours may raise anything when they are asked
                    self.fail(task, e)
        finally:
            self._draining = False

    def _launch(self, task: TaskRecord) -> None:
        if task.depends:
            failures = self._failures(task.depends)
            if failures:
                self._finish(task, States.dep_fail, Error(self._why_not(task, failures)))
                return
            try:
                task.args, task.kwargs = self._unwrap(task)
            except BaseException as e:  # noqa: BLE001 - a user's resolver may raise anything; it is the task's failure
                self._attempt_failed(task, e)
                return
        try:
            self._effects.launch(task)
        except BaseException as e:  # noqa: BLE001 - an executor or memoizer may raise anything; it is the task's failure
            if task.status not in FINAL_STATES:
                self._attempt_failed(task, e)

    def _why_not(self, task: TaskRecord, failures: list[tuple[BaseException, str]]) -> BaseException:
        for future in task.depends:
            if isinstance(future, LazyFuture) and future.cancelled():
                text = f"task {task.id} was cancelled with {self._effects.describe(future)}, for which it waits"
                return CancelledError(text)
        return DependencyError(failures, task.id)

    def _unwrap(self, task: TaskRecord) -> tuple[tuple[Any, ...], dict[str, Any]]:
        unwrap = self._unwrap_for[task.join]
        args = tuple([unwrap(a) for a in task.args])
        # `inputs` is unwrapped one level deep whatever the resolver: that is what the keyword is for.
        kwargs = {
            k: [unwrap(v) for v in value] if k == "inputs" and isinstance(value, (list, tuple)) else unwrap(value)
            for k, value in task.kwargs.items()
        }
        task.depends = ()
        return args, kwargs

    def _failures(self, futures: Any) -> list[tuple[BaseException, str]]:
        failures = []
        for future in futures:
            exception = CancelledError() if future.cancelled() else future.exception()
            if exception is not None:
                failures.append((exception, self._effects.describe(future)))
        return failures

    # -- waiting -------------------------------------------------------------------------------------------------

    def _wait_for(self, task: TaskRecord, futures: Any) -> None:
        try:
            for future in futures:
                if future.done():
                    if _is_elsewhere(future, task):
                        task.waiting += 1
                        self._effects.bring(future, task)
                    continue
                task.waiting += 1
                if isinstance(future, AppFuture) and future.task_record.dfk is task.dfk:
                    future.task_record.dependents.append(task)
                else:
                    self._effects.when_done(future, task)
        except Exception as e:  # noqa: BLE001 - futures that are not ours may raise anything when they are asked
            self.fail(task, e)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _attempt_failed(self, task: TaskRecord, exception: BaseException) -> None:
        task.fail_count += 1
        text = shown(exception)
        task.fail_history.append(text)
        if isinstance(exception, CancelledError):
            self._finish(task, States.failed, Error(exception))
            return
        loss = exception if isinstance(exception, ExecutionLost) and not exception.asked_for else None
        if loss is not None and self._system_retries and self._lost(task, loss):
            return
        try:
            task.fail_cost += 1 if self._retry_handler is None else self._retry_handler(exception, task)
            affordable = task.fail_cost <= self._retries
        except BaseException as e:  # noqa: BLE001 - whatever the user's handler raises becomes the task's exception
            exception, affordable = e, False
        if task.status in FINAL_STATES:
            return  # the handler ended the kernel
        if not affordable:
            self._finish(task, States.failed, Error(exception))
            return
        logger.info(
            "Task %s failed (%s) and is tried again: cost %s of %s so far",
            task.id,
            text,
            task.fail_cost,
            self._retries,
            extra={"parsl.task": task.id},
        )
        self._again(task)

    def _lost(self, task: TaskRecord, loss: ExecutionLost) -> bool:
        """Take in that a task was lost with what ran it; False when that is to be a failure like any other."""
        task.losses += 1
        task.worker_losses += loss.suspect
        if task.worker_losses >= POISONOUS:
            self._finish(task, States.failed, Error(loss.as_poison(task.worker_losses)))
        elif task.losses > self._system_retries:
            self._finish(task, States.failed, Error(loss))
        elif self._effects.runs_again(task, loss):
            logger.warning(
                "Task %s was lost (%s) and is run again: loss %d, of %d at most",
                *(task.id, loss, task.losses, self._system_retries),
                extra={"parsl.task": task.id},
            )
            self._again(task)
        else:
            return False
        return True

    def _again(self, task: TaskRecord) -> None:
        task.try_id += 1
        self._move(task, States.fail_retryable)
        self._move(task, States.pending)
        self._ready.append(task)

    def _begin_join(self, task: TaskRecord, result: Any) -> None:
        is_list = isinstance(result, list)
        # A copy, since the app may have kept the list.
        joins = list(result) if is_list else [result]
        wrong = [type(j).__name__ for j in joins if not isinstance(j, Future)]
        who = f"join_app {task.func_name} (task {task.id})"
        if wrong:
            returned = f"a list with a {wrong[0]}" if is_list else f"a {wrong[0]}"
            error = TypeError(f"{who} must return a Future or a list of Futures, but it returned {returned}")
            self._finish(task, States.failed, Error(error))
            return
        if any(j is task.app_fu for j in joins):
            self._finish(task, States.failed, Error(TypeError(f"{who} returned its own future")))
            return
        task.joins = joins if is_list else result
        self._move(task, States.joining)
        self._wait_for(task, joins)
        if not task.waiting:
            self._ready.append(task)

    def _end_join(self, task: TaskRecord) -> None:
        result, task.joins = task.joins, None
        joins = result if isinstance(result, list) else [result]
        failures = self._failures(joins)
        if failures:
            self._finish(task, States.failed, Error(JoinError(failures, task.id)))
        else:
            values = [j.result() for j in joins]
            self._end_well(task, Value(values if isinstance(result, list) else values[0]))

    def _end_well(self, task: TaskRecord, outcome: Value) -> None:
        if task.memoize:
            task.checkpoint = True
            try:
                if not self._effects.save(task, outcome):
                    return
            except Exception as e:  # noqa: BLE001 - a user's memoizer may raise anything; it is the task's failure
                self.fail(task, e)
                return
        self.saved(task, outcome)

    def _finish(self, task: TaskRecord, state: States, outcome: Outcome) -> None:
        self._move(task, state)
        self._effects.settle(task, outcome)
        cancelled = isinstance(outcome, Error) and isinstance(outcome.exception, CancelledError)
        for child in task.take_dependents():
            child.waiting -= 1
            if cancelled and _needs(child, task.app_fu):
                # It need not wait for what else it depends on.
                self._doomed.append((child, task.id))
            elif child.waiting == 0:
                self._ready.append(child)

    def _cancel_with(self, task: TaskRecord, parent: int) -> None:
        """Cancel a task that waits for one that was cancelled."""
        if task.status in _WAITING:
            state = States.dep_fail if task.status is States.pending else States.failed
            text = f"task {task.id} was cancelled with task {parent}, for which it waits"
            self._finish(task, state, Error(CancelledError(text)))

    def _move(self, task: TaskRecord, state: States) -> None:
        old = task.status
        task.status = state
        self._effects.moved(task, old)


def _needs(task: TaskRecord, future: AppFuture[Any]) -> bool:
    """Tell whether `task` wants the result of a future: it may just wait for the end of an equal call."""
    joins = task.joins if isinstance(task.joins, list) else [task.joins]
    return any(f is future for f in (joins if task.status is States.joining else task.depends))


def _is_elsewhere(future: Future[Any], task: TaskRecord) -> bool:
    """Tell whether a future that is done holds a reference of which `task` can make nothing."""
    if not isinstance(future, AppFuture) or future.reference is None:
        return False
    return future.task_record.dfk is not task.dfk or _needs_values(task, future.reference.executor)


def _needs_values(task: TaskRecord, executor: str) -> bool:
    """Tell whether `task` can make nothing of references to what the engine of `executor` keeps."""
    # Where one with a choice of executors will run is not known yet.
    return task.executor != executor or task.choices is not None or task.memoize or task.join
