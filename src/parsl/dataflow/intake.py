"""What becomes of a call on its caller's thread: a task, with its files and what it depends on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.autopath import AUTO
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.placement import INTERNAL
from parsl.dataflow.taskrecord import TaskRecord

if TYPE_CHECKING:
    from parsl.dataflow.dependency_resolvers import DependencyResolver
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.dataflow.filing import Filing
    from parsl.dataflow.placement import Placement
    from parsl.utils import AtomicIDCounter

# Arguments of these types are neither futures nor files, which one look at their type tells.
_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})

_SPECIAL = frozenset({"parsl_resource_specification", "parsl_executors", "_parsl_staging_inhibit"})


class Intake:
    """Makes tasks of calls, from any thread.

    Args:
        kernel: whose tasks they are.
        ids: numbers them.
        placement: finds the executors that may run a task.
        filing: has files staged.
        resolver: finds the futures among arguments.
        joining: the same for join apps.
        autopath: names the log file of a task that AUTO_LOGNAME stands for, of the kind 'stdout' or 'stderr'.
        spoiled: told of a task that is none after all, and why: a transfer of its files may wait for it by now.
    """

    def __init__(
        self,
        kernel: DataFlowKernel,
        ids: AtomicIDCounter,
        placement: Placement,
        filing: Filing,
        *,
        resolver: DependencyResolver,
        joining: DependencyResolver,
        autopath: Callable[[TaskRecord, str], Any],
        spoiled: Callable[[TaskRecord, BaseException], object],
    ) -> None:
        self._kernel = kernel
        self._ids = ids
        self._placement = placement
        self._filing = filing
        self._gather = resolver.traverse_to_gather
        self._gather_joining = joining.traverse_to_gather
        self._autopath = autopath
        self._spoiled = spoiled

    def take(
        self,
        func: Callable[..., Any],
        app_args: Sequence[Any],
        executors: str | Sequence[str],
        cache: bool,
        ignore_for_cache: Sequence[str] | None,
        app_kwargs: dict[str, Any] | None,
        join: bool,
    ) -> TaskRecord:
        """Make a task of a call; the arguments are those of `DataFlowKernel.submit`.

        Returns:
            A task with its future, which the graph has not seen yet.

        Raises:
            ValueError: when an executor is named that there is not, or a file has no staging provider.
        """
        task_id = self._ids.get_id()
        kwargs = dict(app_kwargs) if app_kwargs else {}
        resources: dict[str, Any] = {}
        stage = True
        if kwargs and not _SPECIAL.isdisjoint(kwargs):
            resources = kwargs.pop("parsl_resource_specification", None) or {}
            stage = not kwargs.pop("_parsl_staging_inhibit", False)
            executors = kwargs.pop("parsl_executors", None) or executors
        labels = (INTERNAL,) if join else self._placement.allowed(executors, task_id)
        task = TaskRecord(
            task_id,
            self._kernel,
            func,
            tuple(app_args),
            kwargs,
            labels[0],
            resources,
            memoize=cache,
            ignore_for_cache=None if ignore_for_cache is None else list(ignore_for_cache),
            join=join,
            invoked=time.time(),
        )
        task.app_fu = AppFuture(task)
        if len(labels) > 1:
            task.choices = labels
        if kwargs or not _PLAIN.issuperset(map(type, app_args)):
            try:
                self._prepare(task, stage=stage)
            except BaseException as e:
                self._spoiled(task, e)
                raise
        return task

    def _prepare(self, task: TaskRecord, *, stage: bool) -> None:
        """See to log names, files and dependencies of a task."""
        kwargs = task.kwargs
        for key in ("stdout", "stderr"):
            if key in kwargs and type(kwargs[key]) is int and kwargs[key] == AUTO:
                kwargs[key] = self._autopath(task, key)
                task.ignore_for_cache = [*(task.ignore_for_cache or []), key]
        values = [*task.args, *kwargs.values()]
        if stage or "outputs" in kwargs or "stdout" in kwargs or "stderr" in kwargs:
            self._placement.bind(task)
            self._filing.file(task, stage=stage)
            values = [*task.args, *kwargs.values()]
        gather = self._gather_joining if task.join else self._gather
        depends: list[Future[Any]] = []
        for value in values:
            if type(value) not in _PLAIN:
                depends.extend(gather(value))
        inputs = kwargs.get("inputs")
        if isinstance(inputs, (list, tuple)):
            known = set(map(id, depends))
            depends.extend(d for i in inputs for d in gather(i) if id(d) not in known)
        if depends:
            task.depends = depends
