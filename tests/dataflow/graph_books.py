"""Effects for a TaskGraph under test, which keep lists instead of working."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER, DependencyResolver
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.graph import TaskGraph
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord, Value
from parsl.executors.errors import ExecutionLost


def app() -> None:
    """Stand for an app; the graph never calls it."""
    raise AssertionError("the graph called an app")


class Books:
    """Effects that keep lists: what was launched, which moves were made, how each task ended."""

    def __init__(self, resolver: DependencyResolver = DEEP_DEPENDENCY_RESOLVER, **options: Any) -> None:
        self.graph = TaskGraph(self, resolver, **options)
        self.launched: list[TaskRecord] = []
        self.moves: list[tuple[int, str]] = []
        self.ended: list[int] = []
        self.told: list[TaskRecord] = []
        self.on_launch: Callable[[TaskRecord], object] = self.graph.launched
        self.made = 0
        self.saved: list[int] = []
        self.saves_at_once = True
        self.elsewhere = True

    def task(self, *args: Any, **kwargs: Any) -> TaskRecord:
        """Make a task and give it to the graph."""
        task = self.unsubmitted(*args, **kwargs)
        self.graph.add(task)
        return task

    def unsubmitted(self, *args: Any, join: bool = False, **kwargs: Any) -> TaskRecord:
        task = TaskRecord(self.made, self, app, args, kwargs, "nowhere", {}, join=join)
        self.made += 1
        task.app_fu = AppFuture(task)
        gather = DEEP_DEPENDENCY_RESOLVER.traverse_to_gather
        task.depends = [d for value in (*args, *kwargs.values()) for d in gather(value)]
        return task

    def launch(self, task: TaskRecord) -> None:
        self.launched.append(task)
        self.on_launch(task)

    def runs_again(self, task: TaskRecord, loss: ExecutionLost) -> bool:
        return self.elsewhere

    def moved(self, task: TaskRecord, old: States) -> None:
        self.moves.append((task.id, task.status.name))

    def save(self, task: TaskRecord, outcome: Value) -> bool:
        self.saved.append(task.id)
        return self.saves_at_once

    def settle(self, task: TaskRecord, outcome: Outcome) -> None:
        self.ended.append(task.id)
        task.app_fu.settle(outcome)

    def when_done(self, future: Future[Any], task: TaskRecord) -> None:
        future.add_done_callback(lambda _: self.graph.dependency_done(task))

    def cancel(self, task: TaskRecord) -> None:
        self.graph.cancel(task)

    def describe(self, future: Future[Any]) -> str:
        return f"task {future.tid}" if isinstance(future, AppFuture) else "somebody"

    def end(self, task: TaskRecord, result: Any = None) -> None:
        self.graph.attempt_done(task, Value(result))

    def break_down(self, task: TaskRecord, exception: BaseException | None = None) -> BaseException:
        exception = exception or ValueError(f"task {task.id} broke down")
        self.graph.attempt_done(task, Error(exception))
        return exception
