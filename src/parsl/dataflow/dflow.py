"""The dataflow kernel: what stands between a call of an app and the executors."""

from __future__ import annotations

import atexit
import functools
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from parsl.config import Config
from parsl.data_provider.data_manager import DataManager
from parsl.dataflow.admission import Admission
from parsl.dataflow.cancelling import Cancelling
from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER, SHALLOW_DEPENDENCY_RESOLVER
from parsl.dataflow.ending import Ending
from parsl.dataflow.entry_points import EntryPoints
from parsl.dataflow.explaining import Explaining
from parsl.dataflow.filing import Filing
from parsl.dataflow.futures import AppFuture, LazyFuture
from parsl.dataflow.graph import TaskGraph
from parsl.dataflow.intake import Intake
from parsl.dataflow.placement import INTERNAL, Placement
from parsl.dataflow.references import Reference
from parsl.dataflow.remembering import Remembering
from parsl.dataflow.rundirs import make_rundir
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Outcome, TaskRecord, Value
from parsl.dataflow.telling import Telling
from parsl.dataflow.watching import Watching
from parsl.errors import ConfigurationError, NoDataFlowKernelError
from parsl.executors.threads import ThreadPoolExecutor
from parsl.jobs.job_status_poller import JobStatusPoller
from parsl.logconfigs.base import initialize_logging
from parsl.loop import Helper, Loop
from parsl.utils import AtomicIDCounter
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.dataflow.reports import Reports
    from parsl.executors.base import ParslExecutor
    from parsl.executors.errors import ExecutionLost
    from parsl.usage_tracking.usage import UsageTracker

logger = logging.getLogger(__name__)


class DataFlowKernel(EntryPoints, Cancelling, Explaining, Watching, Ending):
    """Runs the calls of apps on executors, each as soon as what it depends on is done.

    One thread, the loop, owns all state of tasks; calls come in from any thread, and ends from the executors.

    Args:
        config: what to run on; one ThreadPoolExecutor by default.

    Raises:
        TypeError: when `config` is something else.
        ConfigurationError: when the configuration cannot be used, or the run folder cannot be written.

    Attributes:
        tasks: the records of tasks that have not ended (of all tasks without `garbage_collect`), by number.
        executors: the executors by label; `_parsl_internal` runs join apps and lifted futures.
        run_dir: this run's own folder.
        run_id: a unique name of this run.
    """

    @check_types
    def __init__(self, config: Config | None = None) -> None:
        self._config = config = Config() if config is None else config
        self.run_dir = make_rundir(config.run_dir)
        self.run_id = str(uuid.uuid4())
        self.cleanup_called = False
        self._end_logging = initialize_logging(config.initialize_logging, self.run_dir, "parsl")
        logger.info("Run %s in %s with %r", self.run_id, self.run_dir, config)
        self.tasks: dict[int, TaskRecord] = {}
        self._counts: dict[States, int] = dict.fromkeys(States, 0)
        self.executors: dict[str, ParslExecutor] = {}
        self.memoizer = config.made_memoizer()
        self._cancelled: deque[TaskRecord] = deque()
        self.monitoring = config.monitoring
        self._reports: Reports | None = None
        self._usage_tracker: UsageTracker | None = None
        self.data_manager = DataManager(self)
        self.dependency_resolver = config.dependency_resolver or DEEP_DEPENDENCY_RESOLVER
        # A join app may return the very futures that it was given in a list, so by default it gets them as they are.
        joining = config.dependency_resolver or SHALLOW_DEPENDENCY_RESOLVER
        self._ids = AtomicIDCounter()
        self._admission = None if config.max_outstanding is None else Admission(config.max_outstanding)
        self._placement = Placement(self.executors, INTERNAL)
        self._telling = Telling(self.describe)
        self.loop = Loop()
        self._helper = Helper()
        self._graph = TaskGraph(
            self, self.dependency_resolver, config.retries, config.retry_handler, joining, config.system_retries
        )
        self._intake = Intake(
            self,
            self._ids,
            self._placement,
            Filing(self.data_manager),
            resolver=self.dependency_resolver,
            joining=joining,
            autopath=config.std_autopath or self.default_std_autopath,
            spoiled=functools.partial(self.loop.post, self._graph.fail),
        )
        self._remembering = Remembering(
            self.memoizer, self.loop, self._graph, self.when_done, None if config.garbage_collect else self.tasks
        )
        # One of the graph's `Effects`.
        self.save = self._remembering.save
        self.loop.at_pass_end(self._remembering.count_answered)
        self.loop.start()
        self.job_status_poller = JobStatusPoller(
            strategy=config.strategy,
            strategy_period=config.strategy_period,
            max_idletime=config.max_idletime,
            loop=self.loop,
        )
        atexit.register(self.atexit_cleanup)
        try:
            self.memoizer.start(run_dir=self.run_dir, config_run_dir=config.run_dir)
            self._start_monitoring()
            self.add_executors(config.executors)
            internal = ThreadPoolExecutor(label=INTERNAL, max_threads=config.internal_tasks_max_threads)
            self.add_executors([internal])
            self._start_progress()
        except BaseException:
            self.cleanup()
            raise
        self._start_usage_tracking()

    def _start_monitoring(self) -> None:
        hub = self.monitoring
        if hub is not None:
            from parsl.dataflow.reports import Reports
            from parsl.dataflow.waiting_reports import WaitingReports

            hub.loop, hub.run_id = self.loop, self.run_id
            try:
                hub.start(self.run_dir, self._config.run_dir, self._config.initialize_logging)
            except BaseException:
                self.monitoring = None
                raise
            self._reports = Reports(hub.send_records, self.loop, self.tasks, float(hub.resource_monitoring_interval))
            self.loop.at_pass_end(self._reports.flush)
            self.loop.post(WaitingReports, self.loop, self.tasks, self.explain_soon, hub.send_records)

    def _start_usage_tracking(self) -> None:
        if self._config.usage_tracking:
            from parsl.usage_tracking.usage import UsageTracker

            self._usage_tracker = UsageTracker(self)
            self._usage_tracker.send_start_message()

    @property
    def task_count(self) -> int:
        """How many calls there have been."""
        return self._ids.count

    @property
    def config(self) -> Config:
        """The configuration that the kernel was made with."""
        return self._config

    def add_executors(self, executors: Sequence[ParslExecutor]) -> None:
        """Start executors and let apps use them.

        Raises:
            ConfigurationError: when an executor's label is taken, or another kernel uses it.
        """
        for executor in executors:
            if executor.label in self.executors:
                msg = f"There is an executor of label {executor.label!r} already: labels must differ"
                raise ConfigurationError(msg)
            if executor.in_use:
                msg = f"Executor {executor.label!r} is in use by another kernel: give each kernel executors of its own"
                raise ConfigurationError(msg)
            executor.run_id = self.run_id
            executor.run_dir = self.run_dir
            if self._reports is not None and self.monitoring is not None:
                self._reports.set_radio(executor.label, self.monitoring.attach(executor))
            for name, value in {"loop": self.loop, "log_config": self._config.initialize_logging}.items():
                if hasattr(executor, name):
                    setattr(executor, name, value)
            logger.info(
                "Starting executor %s",
                executor.label,
                extra={
                    "parsl.executor.label": executor.label,
                    "parsl.executor.type": f"{type(executor).__module__}.{type(executor).__qualname__}",
                },
            )
            executor.start()
            self.executors[executor.label] = executor
        self._placement.refresh()
        self.job_status_poller.add_executors(executors)

    # -- calls, on the caller's thread ---------------------------------------------------------------------------

    def submit(
        self,
        func: Callable[..., Any],
        app_args: Sequence[Any],
        executors: str | Sequence[str] = "all",
        cache: bool = False,
        ignore_for_cache: Sequence[str] | None = None,
        app_kwargs: dict[str, Any] | None = None,
        join: bool = False,
    ) -> AppFuture[Any]:
        """Make a task of a call and return the future of its result.

        Args:
            func: what to call.
            app_args: positional arguments; futures among them are waited for.
            executors: labels of the executors that may run it; 'all' allows any.
            cache: remember the result for equal calls.
            ignore_for_cache: names of parameters that don't make calls differ.
            app_kwargs: keyword arguments, the special ones (`stdout`, `outputs`, ...) included.
            join: the function returns a future, or a list of futures, whose results become the result.

        Raises:
            NoDataFlowKernelError: when the kernel has been cleaned up.
            ValueError: when an executor is named that there is not, or a file has no staging provider.
        """
        if self.cleanup_called:
            self._refuse()
        if self._admission is None:
            return self._enter(self._intake.take(func, app_args, executors, cache, ignore_for_cache, app_kwargs, join))
        self._admission.enter(wait=not self.loop.on_loop())
        try:
            if self.cleanup_called:
                self._refuse()
            return self._enter(self._intake.take(func, app_args, executors, cache, ignore_for_cache, app_kwargs, join))
        except BaseException:
            self._admission.leave()
            raise

    async def room(self) -> None:
        """Return when fewer than `Config.max_outstanding` tasks are open, so that a call of an app will not block.

        For coroutines: `await parsl.dfk().room()` before a call suspends the coroutine where the call would hold up its
        whole event loop.
        """
        if self._admission is not None:
            await self._admission.room()

    @staticmethod
    def _refuse() -> NoReturn:
        msg = "Cannot submit to a DataFlowKernel that has been cleaned up"
        raise NoDataFlowKernelError(msg)

    def _enter(self, task: TaskRecord) -> AppFuture[Any]:
        """Give a new task to the graph, unless what it would return is remembered."""
        if task.memoize:
            outcome = self._remembering.recall_early(task)
            if outcome is not None:
                if self._admission is not None:
                    self._admission.leave()
                return self._remembering.answer(task, outcome)
        self.tasks[task.id] = task
        if logger.isEnabledFor(logging.DEBUG):
            self._telling.submitted(task)
        self.loop.post(self._graph.add, task)
        # A cleanup that begins from here on sees the task; one that began before may have missed it.
        if self.cleanup_called:
            self._on_loop(self._fail_as_cleaned_up, task)
        return task.app_fu

    # -- what the graph asks for, on the loop ----------------------------------------------------------------------

    def launch(self, task: TaskRecord) -> None:
        """Start an attempt at a task whose arguments are values, unless its outcome is known already."""
        if task.memoize and self._remembering.recall(task):
            return
        task.try_launched = time.time()
        self._placement.place(task)
        self._graph.launched(task)
        if self._reports is None or not self._reports.wraps:
            self.executors[task.executor].launch(task)
        else:
            self._reports.launch(self.executors[task.executor], task)
        if logger.isEnabledFor(logging.DEBUG):
            self._telling.launched(task)

    def attempt_done(self, task: TaskRecord, outcome: Outcome) -> None:
        """Take note of how an attempt ended; from any thread."""
        if not self.loop.on_loop():
            self.loop.post(self.attempt_done, task, outcome)
        elif isinstance(outcome, Value) and isinstance(outcome.result, Reference) and not self._graph.may_stay(task):
            outcome.result.fetch(functools.partial(self.attempt_done, task))
        else:
            self._graph.attempt_done(task, outcome)

    def runs_again(self, task: TaskRecord, loss: ExecutionLost) -> bool:
        """Tell whether the executor of a task that was lost would run it again."""
        return not self.cleanup_called and self.executors[task.executor].runs_again(loss)

    def moved(self, task: TaskRecord, old: States) -> None:
        """Take note of a change of state."""
        counts = self._counts
        if old is not States.unsched:
            counts[old] -= 1
        counts[task.status] += 1
        if self._reports is not None:
            self._reports.moved(task, old)
        for watcher in self._watchers:
            watcher(task, old)
        if logger.isEnabledFor(logging.DEBUG):
            self._telling.moved(task)

    def settle(self, task: TaskRecord, outcome: Outcome) -> None:
        """Forget a task that is final, and give its future the outcome."""
        task.returned = time.time()
        if self._admission is not None and task.id in self.tasks:
            self._admission.leave()
        if task.memoize:
            self._remembering.ended(task, outcome)
        if task.status is not States.exec_done:
            self._telling.failed(task, outcome)
            if self._reports is not None:
                self._reports.settled(task, outcome)
        if self._config.garbage_collect:
            self.wipe_task(task.id)
            # Tasks that fail in a cleanup may be about to begin on an executor, with the arguments of the call.
            if not self.cleanup_called:
                task.args, task.kwargs, task.depends = (), {}, ()
        if task.app_fu.settle(outcome):
            self._helper.post(task.app_fu.run_callbacks)

    def when_done(self, future: Future[Any], task: TaskRecord) -> None:
        """Have the graph told when a future of somebody else is done."""
        if isinstance(future, LazyFuture):
            future.follow(functools.partial(self.loop.post, self._graph.dependency_done, task))
        else:
            future.add_done_callback(lambda _: self.loop.post(self._graph.dependency_done, task))

    def bring(self, future: AppFuture[Any], task: TaskRecord) -> None:
        """Have the value brought for which a reference stands in a future."""
        reference = future.reference
        if reference is None:
            self._graph.dependency_done(task)  # somebody else has just asked for it
        else:
            reference.fetch(functools.partial(self.loop.post, self._graph.brought, future, task))

    def describe(self, future: Future[Any]) -> str:
        """Name a future in the message of an error."""
        tid = getattr(future, "tid", None)
        return repr(future) if tid is None else f"task {tid}"

    # -- end -----------------------------------------------------------------------------------------------------

    def wipe_task(self, task_id: int) -> None:
        """Forget a task."""
        self.tasks.pop(task_id, None)

    def _forget(self) -> None:
        DataFlowKernelLoader.forget(self)


class DataFlowKernelLoader:
    """The kernel that apps use unless they name another: one in a process."""

    _dfk: DataFlowKernel | None = None

    @classmethod
    def clear(cls) -> None:
        """Forget the loaded kernel, without cleaning it up."""
        cls._dfk = None

    @classmethod
    def forget(cls, kernel: DataFlowKernel) -> None:
        """Forget a kernel, if it is the loaded one."""
        if cls._dfk is kernel:
            cls._dfk = None

    @classmethod
    def load(cls, config: Config | None = None) -> DataFlowKernel:
        """Make a kernel and have apps use it.

        Args:
            config: what to run on; one ThreadPoolExecutor by default.

        Returns:
            The kernel, also a context manager, see `Config.exit_mode`.

        Raises:
            ConfigurationError: when a kernel is loaded already.
        """
        if cls._dfk is not None:
            msg = "A DataFlowKernel is loaded already: call parsl.dfk().cleanup() or parsl.clear() first"
            raise ConfigurationError(msg)
        cls._dfk = DataFlowKernel(config)
        return cls._dfk

    @classmethod
    def wait_for_current_tasks(cls) -> None:
        """Wait until all tasks of the loaded kernel have ended."""
        cls.dfk().wait_for_current_tasks()

    @classmethod
    def dfk(cls) -> DataFlowKernel:
        """Return the loaded kernel.

        Raises:
            NoDataFlowKernelError: when there is none.
        """
        if cls._dfk is None:
            msg = "Must first load config"
            raise NoDataFlowKernelError(msg)
        return cls._dfk
