"""TaskGraph under any order of events: every task ends once, and nothing happens that may not."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import CancelledError, Future
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER
from parsl.dataflow.errors import DependencyError, JoinError
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.graph import TaskGraph
from parsl.dataflow.states import FINAL_STATES, LEGAL, States
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord, Value
from parsl.executors.errors import ExecutionLost


class Failure(Exception):
    """What tasks fail with here; the argument is what the failure costs."""


def app(*args: Any) -> None:
    raise AssertionError("the graph never calls an app")


class Machine:
    """A graph, a kernel that keeps books instead of working, and whatever may happen next, by chance.

    Args:
        random: decides all.
        size: number of tasks.
        retries: as for the graph.
    """

    def __init__(self, random: Random, size: int, retries: int) -> None:
        self.random = random
        self.graph = TaskGraph(self, DEEP_DEPENDENCY_RESOLVER, retries, self.cost)
        self.retries = retries
        self.foreign = [Future[Any]() for _ in range(random.randint(0, 4))]
        self.tasks: list[TaskRecord] = []
        for _ in range(size):
            self.make()
        self.to_add = list(self.tasks)
        self.flying: list[TaskRecord] = []
        self.told: list[TaskRecord] = []
        self.counts: Counter[States] = Counter()
        self.settled: Counter[int] = Counter()
        self.launches: Counter[int] = Counter()
        self.outcomes: dict[int, Outcome] = {}
        self.stopped: set[int] = set()
        self.broken: list[AssertionError] = []

    def make(self) -> None:
        random = self.random
        earlier: list[Future[Any]] = [t.app_fu for t in self.tasks] + self.foreign
        depends = random.sample(earlier, min(len(earlier), random.choice([0, 0, 1, 1, 2, 3])))
        if depends and random.random() < 0.2:
            depends.append(depends[0])
        # Some stand among the arguments themselves, some in a list.
        cut = random.randint(0, len(depends))
        args = (*depends[:cut], depends[cut:], "plain")
        task = TaskRecord(len(self.tasks), self, app, args, {}, "nowhere", {}, join=random.random() < 0.3)
        task.app_fu = AppFuture(task)
        task.depends = depends
        task.ignore_for_cache = depends  # for the books: the graph forgets `depends`
        self.tasks.append(task)

    def cost(self, exception: BaseException, task: TaskRecord) -> float:
        if self.random.random() < 0.1:
            raise LookupError("the handler has no opinion")
        return exception.args[0]

    # -- what the graph asks for ---------------------------------------------------------------------------------

    def launch(self, task: TaskRecord) -> None:
        try:
            self.check_launch(task)
        except AssertionError as e:
            self.broken.append(e)  # raised here, it would be the task's failure
        if self.random.random() < 0.2:
            self.graph.look(self.random.choice(self.tasks))
        self.launches[task.id] += 1
        way = self.random.choice(["fly", "fly", "fly", "memo", "refuse", "at once"])
        if way == "refuse":
            raise Failure(0.5)
        if way == "memo" and not task.join:
            self.graph.memo_found(task, self.outcome(task))
            return
        self.graph.launched(task)
        if way == "at once":
            self.graph.attempt_done(task, self.outcome(task))
        else:
            self.flying.append(task)

    def check_launch(self, task: TaskRecord) -> None:
        assert task.status is States.pending
        assert task not in self.flying
        assert task.fail_cost <= self.retries
        assert task.try_id == task.fail_count
        depends = task.ignore_for_cache
        assert all(d.done() and not d.cancelled() and d.exception() is None for d in depends)
        values = [d.result() for d in depends]
        cut = len(task.args) - 2
        assert task.args == (*values[:cut], values[cut:], "plain")

    def runs_again(self, task: TaskRecord, loss: ExecutionLost) -> bool:
        raise AssertionError("nothing is lost here")

    def moved(self, task: TaskRecord, old: States) -> None:
        assert task.status in LEGAL[old], f"{old.name} -> {task.status.name}"
        if old is not States.unsched:
            self.counts[old] -= 1
        self.counts[task.status] += 1
        assert min(self.counts.values()) >= 0

    def save(self, task: TaskRecord, outcome: Value) -> bool:
        raise AssertionError("no task of these is to be remembered")

    def settle(self, task: TaskRecord, outcome: Outcome) -> None:
        assert task.status in FINAL_STATES
        self.settled[task.id] += 1
        assert self.settled[task.id] == 1
        self.outcomes[task.id] = outcome
        task.app_fu.settle(outcome)

    def when_done(self, future: Future[Any], task: TaskRecord) -> None:
        future.add_done_callback(lambda _: self.told.append(task))

    def cancel(self, task: TaskRecord) -> None:
        self.graph.cancel(task)
        self.stopped.add(task.id)

    def describe(self, future: Future[Any]) -> str:
        return f"task {future.tid}" if isinstance(future, AppFuture) else "somebody"

    # -- what may happen -----------------------------------------------------------------------------------------

    def outcome(self, task: TaskRecord) -> Outcome:
        random = self.random
        if random.random() < 0.3:
            return Error(Failure(random.choice([0, 0.5, 1, 2])))
        if not task.join:
            # A future in a result is the user's, and not looked into.
            return Value(("result of", task.id, self.foreign))
        # A task may wait for any that was there before it; to wait for a later one may be to wait for itself.
        known: list[Future[Any]] = [t.app_fu for t in self.tasks[: task.id]] + self.foreign
        joins = random.sample(known, min(len(known), random.randint(0, 3)))
        return Value(random.choice([joins, joins, joins[0] if joins else 7, [*joins, None], "neither"]))

    def events(self) -> list[Any]:
        """Return what may come next; empty when nothing more will."""
        found: list[Any] = []
        if self.to_add:
            found.append(lambda: self.graph.add(self.to_add.pop(0)))
        if self.flying:
            found += [self.end_attempt] * 3
        if self.told:
            found.append(lambda: self.graph.dependency_done(self.told.pop(self.random.randrange(len(self.told)))))
        if any(not f.done() for f in self.foreign):
            found.append(self.end_foreign)
        if found:
            found += [self.disturb]
        return found

    def end_attempt(self) -> None:
        task = self.flying.pop(self.random.randrange(len(self.flying)))
        cancelled = self.random.random() < 0.1
        was_open = not task.app_fu.done()
        self.graph.attempt_done(task, Error(CancelledError()) if cancelled else self.outcome(task))
        assert not (cancelled and was_open) or task.app_fu.cancelled()

    def end_foreign(self) -> None:
        future = self.random.choice([f for f in self.foreign if not f.done()])
        way = self.random.choice(["result", "result", "exception", "cancel"])
        if way == "result":
            future.set_result("from elsewhere")
        elif way == "exception":
            future.set_exception(Failure(1))
        else:
            future.cancel()

    def disturb(self) -> None:
        """Do what users and executors may do at any time, and mostly without an effect."""
        task = self.random.choice(self.tasks)
        way = self.random.choice(["cancel", "fail", "look", "tell twice"])
        if way == "cancel" and task not in self.to_add:
            can_be = task.status in (States.pending, States.joining) or task.app_fu.cancelled()
            assert self.graph.cancel(task) == task.app_fu.cancelled() == can_be
            self.stopped.add(task.id)
        elif way == "fail" and self.random.random() < 0.3:
            self.graph.fail(task, Failure("from outside"))
            self.stopped.add(task.id)
            if task in self.flying and self.random.random() < 0.5:
                self.flying.remove(task)  # its executor never answers
        elif way == "look":
            self.graph.look(task)
        elif way == "tell twice" and task.status in FINAL_STATES:
            self.graph.attempt_done(task, Value("late"))

    def run(self) -> None:
        while events := self.events():
            self.random.choice(events)()
            self.check()

    # -- what must be true ---------------------------------------------------------------------------------------

    def check(self) -> None:
        assert not self.broken
        for task in self.tasks:
            assert task.app_fu.done() == (task.status in FINAL_STATES) == (task.id in self.outcomes)
        added = [t for t in self.tasks if t.status is not States.unsched]
        assert +self.counts == Counter(t.status for t in added)

    def check_end(self) -> None:
        assert all(t.status in FINAL_STATES for t in self.tasks)
        assert set(self.settled) == {t.id for t in self.tasks}
        for task in self.tasks:
            self.check_outcome(task, self.outcomes[task.id])

    def check_outcome(self, task: TaskRecord, outcome: Outcome) -> None:
        exception = outcome.exception if isinstance(outcome, Error) else None
        # What an earlier call ended with may have been a failure.
        if task.status is not States.memo_done:
            assert (exception is None) == (task.status is States.exec_done)
        assert task.app_fu.cancelled() == isinstance(exception, CancelledError)
        if task.status is States.dep_fail:
            assert isinstance(exception, (DependencyError, CancelledError))
            assert self.launches[task.id] == 0
            assert any(d.cancelled() or d.exception() is not None for d in task.ignore_for_cache)
            tasks = [d for d in task.ignore_for_cache if isinstance(d, AppFuture)]
            assert not isinstance(exception, CancelledError) or any(t.cancelled() for t in tasks)
        elif task.id not in self.stopped:
            assert self.launches[task.id] == task.try_id + 1
            if isinstance(exception, Failure) and task.status is States.failed:
                assert task.fail_cost > self.retries
        if task.status is States.exec_done and not task.join:
            assert task.app_fu.result() == ("result of", task.id, self.foreign)
        if isinstance(exception, JoinError):
            assert all(e is not None for e, _ in exception.dependent_exceptions_tids)


@given(random=st.randoms(use_true_random=False), size=st.integers(1, 14), retries=st.integers(0, 2))
@settings(max_examples=300)
def test_any_graph_under_any_order_of_events(random: Random, size: int, retries: int) -> None:
    machine = Machine(random, size, retries)
    machine.run()
    machine.check_end()
