"""Watchers of changes of state."""

from __future__ import annotations

from parsl.app.app import python_app
from parsl.dataflow.states import States


def test_each_change_is_told(kernel):
    told, twice = [], []

    def watcher(task, old):
        told.append((task.id, old, task.status))

    def second(task, old):
        twice.append(task.id)

    kernel.loop.call(kernel.watch, watcher)
    kernel.loop.call(kernel.watch, second)
    assert python_app(abs)(-1).result() == 1
    kernel.loop.call(kernel.unwatch, watcher)
    assert python_app(abs)(-2).result() == 2
    assert told == [
        (0, States.unsched, States.pending),
        (0, States.pending, States.launched),
        (0, States.launched, States.exec_done),
    ]  # fmt: skip
    assert twice == [0] * 3 + [1] * 3
