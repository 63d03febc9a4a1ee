"""The kernel's end: in which order all that it has started is ended, and what becomes of tasks that are open then."""

from __future__ import annotations

import atexit
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from parsl.dataflow.errors import DataFlowException
from parsl.executors.threads import ThreadPoolExecutor
from parsl.loop import LoopClosedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from parsl.config import Config
    from parsl.data_provider.data_manager import DataManager
    from parsl.dataflow.admission import Admission
    from parsl.dataflow.graph import TaskGraph
    from parsl.dataflow.remembering import Remembering
    from parsl.dataflow.reports import Reports
    from parsl.dataflow.taskrecord import TaskRecord
    from parsl.executors.base import ParslExecutor
    from parsl.jobs.job_status_poller import JobStatusPoller
    from parsl.loop import Helper, Loop
    from parsl.monitoring import MonitoringHub
    from parsl.usage_tracking.usage import UsageTracker

logger = logging.getLogger(__name__)

# How long the cleanup waits for users' callbacks.
_HELPER_SECONDS = 10.0


class Ending:
    """Waits for the tasks of a kernel, and cleans it up, once."""

    cleanup_called: bool
    data_manager: DataManager
    executors: Mapping[str, ParslExecutor]
    job_status_poller: JobStatusPoller
    loop: Loop
    monitoring: MonitoringHub | None
    run_id: str
    tasks: Mapping[int, TaskRecord]
    _admission: Admission | None
    _config: Config
    _end_logging: Callable[[], object]
    _end_progress: Callable[[], None]
    _forget: Callable[[], None]
    _graph: TaskGraph
    _helper: Helper
    _remembering: Remembering
    _reports: Reports | None
    _usage_tracker: UsageTracker | None
    log_task_states: Callable[[], None]

    def wait_for_current_tasks(self) -> None:
        """Wait until all tasks that there are now have ended, well or badly."""
        for task in list(self.tasks.values()):
            with contextlib.suppress(CancelledError):
                task.app_fu.exception()

    def cleanup(self) -> None:
        """End the kernel: executors, their blocks and workers, threads and logs; a second call does nothing.

        Tasks that have not ended fail with DataFlowException, so nobody waits for them for ever.
        """
        if self.cleanup_called:
            return
        self.cleanup_called = True
        logger.info("Cleaning up run %s", self.run_id)
        atexit.unregister(self.atexit_cleanup)
        if self._admission is not None:
            self._admission.close()
        self.job_status_poller.close()
        self.data_manager.close()
        # Results that are on their way to the disk still count.
        self._remembering.flush()
        self._on_loop(self._fail_open_tasks)
        for executor in self.executors.values():
            try:
                if isinstance(executor, ThreadPoolExecutor):
                    # A call that runs can't be stopped, and nobody waits for it any more.
                    executor.shutdown(block=False)
                else:
                    executor.shutdown()
            except Exception:
                logger.exception("Executor %s did not shut down cleanly", executor.label)
        # What came while the executors ended is saved as well.
        self._on_loop(self._remembering.count_answered)
        self._remembering.close()
        self._end_progress()
        self.log_task_states()
        if self.monitoring is not None:
            self._end_monitoring(self.monitoring)
        if self._usage_tracker is not None:
            self._usage_tracker.send_end_message()
            self._usage_tracker.close()
        self.loop.stop()
        self.loop.join()
        if not self._helper.close(_HELPER_SECONDS):
            logger.warning("A callback of a future has not ended within %g s; it is left to itself", _HELPER_SECONDS)
        self._forget()
        logger.info("Cleaned up run %s", self.run_id)
        self._end_logging()

    def _end_monitoring(self, hub: MonitoringHub) -> None:
        if self._reports is not None:
            self._on_loop(self._reports.close)
        try:
            hub.close()
        except Exception:
            logger.exception("Monitoring did not end cleanly")

    def _fail_open_tasks(self) -> None:
        for task in list(self.tasks.values()):
            self._fail_as_cleaned_up(task)

    def _fail_as_cleaned_up(self, task: TaskRecord) -> None:
        text = f"Task {task.id} ({task.func_name}) had not ended when the DataFlowKernel was cleaned up"
        self._graph.fail(task, DataFlowException(text))

    def _on_loop(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop; here, when the loop has ended and nobody owns the graph any more."""
        try:
            self.loop.call(function, *args)
        except LoopClosedError:
            function(*args)

    def atexit_cleanup(self) -> None:
        """End a kernel that the script has left open at its end."""
        if not self.cleanup_called:
            logger.warning("The script has ended without cleaning up run %s: it is cleaned up now", self.run_id)
            self.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self._config.exit_mode == "skip":
            return
        try:
            if self._config.exit_mode == "wait" and exc_type is None:
                self.wait_for_current_tasks()
        finally:
            self.cleanup()
