"""The files of a call: staging of its inputs, outputs, standard output and error."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl.app.futures import DataFuture
from parsl.data_provider.files import File

if TYPE_CHECKING:
    from parsl.data_provider.data_manager import DataManager
    from parsl.dataflow.futures import AppFuture
    from parsl.dataflow.taskrecord import TaskRecord

_STREAMS = ("stdout", "stderr")
_FILES = (File, DataFuture)


class Filing:
    """Has the files of calls staged, and gives their futures what the user looks at.

    Args:
        data_manager: finds the staging provider of each file.
    """

    def __init__(self, data_manager: DataManager) -> None:
        self._dm = data_manager

    def file(self, task: TaskRecord, *, stage: bool) -> None:
        """Replace the files among the arguments of a task, and fill in `outputs`, `stdout` and `stderr` of its future.

        Args:
            task: a task that has not been given to the graph yet.
            stage: whether files are staged; otherwise they are passed as they are.
        """
        if stage:
            self._stage_in(task)
        kwargs, fields = task.kwargs, task.app_fu.__dict__
        for key in _STREAMS:
            if key in kwargs:
                fields[f"{key}_given"] = kwargs[key]
                if isinstance(kwargs[key], File):
                    kwargs[key], fields[f"{key}_given"] = self._out(task, kwargs[key], stage=stage)
                elif isinstance(kwargs[key], tuple) and kwargs[key] and isinstance(kwargs[key][0], File):
                    file, *mode = kwargs[key]
                    copy, fields[f"{key}_given"] = self._out(task, file, stage=stage)
                    kwargs[key] = (copy, *mode)
        outputs = kwargs.get("outputs")
        if isinstance(outputs, (list, tuple)) and outputs:
            kwargs["outputs"] = copies = list(outputs)
            for i, item in enumerate(outputs):
                if isinstance(item, File):
                    copies[i], future = self._out(task, item, stage=stage)
                    task.app_fu.outputs.append(future)
                elif isinstance(item, (str, os.PathLike)):
                    task.app_fu.outputs.append(DataFuture(task.app_fu, File(item), tid=task.id))

    def _stage_in(self, task: TaskRecord) -> None:
        """Replace the files that the task reads."""
        kwargs = task.kwargs
        task.args = tuple([self._in(task, v) if isinstance(v, _FILES) else v for v in task.args])
        for key, value in kwargs.items():
            if key == "inputs" and isinstance(value, (list, tuple)):
                kwargs[key] = [self._in(task, v) if isinstance(v, _FILES) else v for v in value]
            elif isinstance(value, _FILES) and key != "outputs" and key not in _STREAMS:
                kwargs[key] = self._in(task, value)

    def _in(self, task: TaskRecord, value: File | DataFuture) -> Any:
        """Have a file brought to the task; return what the task gets in its place."""
        self._dm.asking(task.id, task.func_name)
        staged, task.func = self._dm.optionally_stage_in(value, task.func, task.executor)
        return staged

    def _out(self, task: TaskRecord, file: File, *, stage: bool) -> tuple[File, DataFuture]:
        """Arrange for one produced file; return the task's own copy of it, and the future of the caller's."""
        app_fu: AppFuture[Any] = task.app_fu
        copy = file.cleancopy()
        if not stage:
            return copy, DataFuture(app_fu, file, tid=task.id)
        self._dm.asking(task.id, task.func_name)
        staged = self._dm.stage_out(copy, task.executor, app_fu)
        func: Callable[..., Any] = self._dm.replace_task_stage_out(copy, task.func, task.executor)
        task.func = func
        return copy, DataFuture(app_fu if staged is None else staged, file, tid=task.id)
