"""Names of files for the standard output and error of bash apps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import TaskRecord

AUTO = -1
"""The value of `parsl.AUTO_LOGNAME`."""

# How many tasks share a folder: file systems get slow with folders of a million entries.
_TASKS_PER_FOLDER = 10_000


def default_std_autopath(run_dir: str, task: TaskRecord, kw: str) -> str:
    """Return the path for a task's `stdout` or `stderr` when the user leaves the choice to the kernel.

    Args:
        run_dir: the run folder.
        task: the task.
        kw: 'stdout' or 'stderr'.

    Returns:
        `<run_dir>/task_logs/<group>/task_<id>_<app>[_<label>].<kw>`, an absolute path.
    """
    label = task.kwargs.get("label")
    name = f"task_{task.id:04d}_{task.func_name}{'' if label is None else f'_{label}'}.{kw}"
    return os.path.join(os.path.abspath(run_dir), "task_logs", f"{task.id // _TASKS_PER_FOLDER:04d}", name)
