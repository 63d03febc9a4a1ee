"""The kernel's part in a call on its caller's thread: what has to be there before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.autopath import AUTO, default_std_autopath

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.filing import Filing
    from parsl.dataflow.placement import Placement
    from parsl.dataflow.taskrecord import TaskRecord
    from parsl.executors.base import ParslExecutor

# Arguments of these types are neither futures nor files, which one look at their type tells.
PLAIN = frozenset({int, str, float, bool, bytes, type(None)})


class Intake:
    """Names the log files of a task, and finds the files and futures among its arguments."""

    executors: Mapping[str, ParslExecutor]
    run_dir: str
    _config: Config
    _filing: Filing
    _gather: Callable[[object], Sequence[Future[Any]]]
    _gather_joining: Callable[[object], Sequence[Future[Any]]]
    _placement: Placement

    def _prepare(self, task: TaskRecord, *, stage: bool) -> None:
        """See to log names, files and dependencies of a task, on the thread of the caller."""
        kwargs = task.kwargs
        for key in ("stdout", "stderr"):
            if key in kwargs and type(kwargs[key]) is int and kwargs[key] == AUTO:
                kwargs[key] = (
                    self._config.std_autopath(task, key)
                    if self._config.std_autopath
                    else self.default_std_autopath(task, key)
                )
                task.ignore_for_cache = [*(task.ignore_for_cache or []), key]
        values = [*task.args, *kwargs.values()]
        if stage or "outputs" in kwargs or "stdout" in kwargs or "stderr" in kwargs:
            self._placement.bind(task)
            self._filing.file(task, stage=stage)
            values = [*task.args, *kwargs.values()]
        gather = self._gather_joining if task.join else self._gather
        depends: list[Future[Any]] = []
        for value in values:
            if type(value) not in PLAIN:
                depends.extend(gather(value))
        inputs = kwargs.get("inputs")
        if isinstance(inputs, (list, tuple)):
            known = set(map(id, depends))
            depends.extend(d for i in inputs for d in gather(i) if id(d) not in known)
        if depends:
            task.depends = depends

    def default_std_autopath(self, taskrecord: TaskRecord, kw: str) -> str:
        """Return the path that AUTO_LOGNAME stands for."""
        return default_std_autopath(self.run_dir, taskrecord, kw)
