"""Drives the manager of Work Queue, in the process that holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from parsl.executors.cctools_command import COPROCESS, FUNCTION, PACKAGE, RUNNER
from parsl.executors.cctools_engine import CctoolsEngine
from parsl.executors.cctools_manager import KEEPALIVE, end_of, port_for
from parsl.executors.cctools_messages import End, Task
from parsl.executors.cctools_task import as_text

try:
    from ndcctools import work_queue
except ImportError:
    import work_queue

# What the library's extension module is called, in one release or another.
_LIBRARIES = ("ndcctools._cwork_queue", "_cwork_queue", "ndcctools._work_queue", "_work_queue")


class WorkQueueEngine(CctoolsEngine):
    """A manager of Work Queue.

    Args:
        folder: for its logs.
        port: where it listens; 0 for a free one.
        project_name: its name in the catalogue, or None.
        password_file: file with the password that workers must know, or None.
        full_debug: write the library's own debug log.
        autolabel: measure tasks and learn what each category needs.
        autolabel_window: tasks after which that is reckoned anew.
        max_retries: how often a task is tried.
        init_command: shell command before each task.
        env: environment variables of tasks.
        environment: a packed Python environment for tasks and the program that enters it, or None.
        coprocess: make calls in a process that stays on the worker.
        tune: values for `tune`, by name.
    """

    def __init__(
        self,
        folder: str,
        *,
        port: int = 0,
        project_name: str | None = None,
        password_file: str | None = None,
        full_debug: bool = False,
        autolabel: bool = False,
        autolabel_window: int = 1,
        max_retries: int = 1,
        init_command: str = "",
        env: Mapping[str, str] | None = None,
        environment: Sequence[str] | None = None,
        coprocess: bool = False,
        tune: Mapping[str, float] | None = None,
    ) -> None:
        packed = environment is not None
        super().__init__(max_retries=max_retries, init_command=init_command, env=env, packed=packed, measured=autolabel)
        if full_debug:
            work_queue.cctools_debug_config("parsl")
            work_queue.cctools_debug_flags_set("wq")
            work_queue.cctools_debug_config_file(os.path.join(folder, "debug.log"))
        self._queue = work_queue.WorkQueue(port_for(port), name=project_name)
        self._queue.specify_log(os.path.join(folder, "stats.log"))
        self._queue.specify_transactions_log(os.path.join(folder, "transactions.log"))
        if password_file is not None:
            self._queue.specify_password_file(password_file)
        for name, value in {**KEEPALIVE, **(tune or {})}.items():
            self._queue.tune(name, value)
        if autolabel:
            self._queue.enable_monitoring(os.path.join(folder, "resources"))
            self._queue.tune("category-steady-n-tasks", autolabel_window)
        self._environment = environment
        self._coprocess = coprocess
        self.port: int = self._queue.port
        self._wait_no_longer(_LIBRARIES, "work_queue_enable_process_module", self._queue, "_work_queue")

    def submit(self, task: Task) -> int:
        """Hand a task over."""
        t = self._new_task(task)
        for transfer in task.inputs:
            _specify(t, transfer.local, transfer.remote, kind="input", cache=transfer.cache)
        for transfer in task.outputs:
            _specify(t, transfer.local, transfer.remote, kind="output", cache=False)
        for local, remote in zip(self._environment or (), (PACKAGE, RUNNER), strict=False):
            t.specify_input_file(local, remote, cache=True)
        for name, value in self._env.items():
            t.specify_environment_variable(name, value)
        t.specify_category(task.category)
        self._learn(task.category)
        if self._max_retries:
            t.specify_max_retries(self._max_retries)
        for name, amount in task.resources.items():
            getattr(t, f"specify_{name}")(amount if name == "priority" else int(amount))
        return int(self._queue.submit(t))

    def _new_task(self, task: Task) -> Any:
        t = work_queue.Task(FUNCTION if self._coprocess else self._command)
        if self._coprocess:
            # The worker hands this to the coprocess, which finds all that it needs in the task's folder.
            t.specify_coprocess(COPROCESS)
            t.specify_buffer("{}", "infile", cache=False)
        if task.call_path:
            t.specify_input_file(task.call_path, "call", cache=False)
        else:
            t.specify_buffer(as_text(task.call), "call", cache=False)
        t.specify_output_file(task.result_path, "answer", cache=False)
        return t

    def _begin_to_learn(self, category: str) -> None:
        self._queue.specify_category_mode(category, work_queue.WORK_QUEUE_ALLOCATION_MODE_MAX_THROUGHPUT)

    def collect(self) -> tuple[int, End] | None:
        """Do all that there is to do now; return a task that has ended, or None."""
        t = self._queue.wait(self._wait)
        if t is None:
            return None
        result = work_queue.work_queue_result_str(t.result) or ""
        result = _RESULTS.get(result, result.lower().replace("_", " "))
        return int(t.id), end_of(result, int(t.return_status), t.limits_exceeded, t.output)

    def cancel(self, engine_id: int) -> bool:
        """Drop a task that has not started."""
        if self._queue.task_state(engine_id) != work_queue.WORK_QUEUE_TASK_READY:
            return False
        return self._queue.cancel_by_taskid(engine_id) is not None

    def close(self) -> None:
        """End the manager; workers go on to look for another."""
        del self._queue


# The words that the two engines have for the same.
_RESULTS = {
    "INPUT_MISS": "input missing",
    "OUTPUT_MISS": "output missing",
    "STDOUT_MISS": "stdout missing",
    "MAX_WALL_TIME": "max wall time",
    "DISK_FULL": "disk full",
}


def _specify(task: Any, local: str, remote: str, *, kind: str, cache: bool) -> None:
    if os.path.isdir(local):
        flag = work_queue.WORK_QUEUE_INPUT if kind == "input" else work_queue.WORK_QUEUE_OUTPUT
        task.specify_directory(local, remote, flag, recursive=True, cache=cache)
    elif kind == "input":
        task.specify_input_file(local, remote, cache=cache)
    else:
        task.specify_output_file(local, remote, cache=cache)
