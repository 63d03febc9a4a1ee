"""Counting tasks by app, and the bars that are drawn of it."""

from __future__ import annotations

import io
import itertools
import sys
import threading
from types import SimpleNamespace

import pytest

from parsl.app.app import python_app
from parsl.dataflow import progress
from parsl.dataflow.progress import ProgressBars, Rate, Tally, is_watched_by_somebody
from parsl.dataflow.states import States
from parsl.errors import OptionalModuleMissing
from tests.kernels import SOON, loaded

LIVES = {
    "done": [States.unsched, States.pending, States.launched, States.exec_done],
    "failed": [States.unsched, States.pending, States.launched, States.failed],
    "retried": [
        States.unsched, States.pending, States.launched, States.fail_retryable, States.pending, States.launched,
        States.exec_done,
    ],
    "remembered": [States.unsched, States.memo_done],
    "not run": [States.unsched, States.pending, States.dep_fail],
    "joined": [States.unsched, States.pending, States.launched, States.joining, States.exec_done],
}  # fmt: skip


def task(app="f", status=States.unsched):
    return SimpleNamespace(func_name=app, status=status)


def walk(tally, record, states):
    for old, record.status in itertools.pairwise(states):
        tally.moved(record, old)


def counts(tally, app="f"):
    found = tally.apps[app]
    return found.seen, found.ended, found.failed, found.launched


@pytest.mark.parametrize("life", LIVES)
def test_every_life_is_counted_once(life):
    tally = Tally()
    walk(tally, task(), LIVES[life])
    assert counts(tally) == (1, 1, int(life in {"failed", "not run"}), 0)


@pytest.mark.parametrize("life", LIVES)
def test_tasks_on_their_way_count_when_the_watch_begins(life):
    states = LIVES[life]
    for at in range(1, len(states)):
        record = task(status=states[at])
        tally = Tally([record])
        if states[at] in {States.exec_done, States.failed, States.dep_fail, States.memo_done}:
            assert tally.apps == {}
            continue
        walk(tally, record, states[at:])
        assert counts(tally)[:2] == (1, 1)
        assert counts(tally)[3] == 0


def test_what_is_launched_is_counted():
    tally = Tally()
    walk(tally, task(), LIVES["done"][:3])
    assert counts(tally) == (1, 0, 0, 1)


def test_of_many_apps_the_small_ones_share_a_bar():
    tally = Tally()
    for app in range(20):
        for _ in range(app + 1):
            walk(tally, task(f"app{app}"), LIVES["done"])
    shown = tally.shown(5)
    assert [name for name, _ in shown] == ["app16", "app17", "app18", "app19", "other apps"]
    assert shown[-1][1].ended == sum(range(1, 17))
    assert len(tally.shown(20)) == 20


def test_a_rate_looks_at_the_last_seconds():
    rate = Rate()
    assert rate.at(0.0, 0) == 0.0
    assert rate.at(2.0, 10) == 5.0
    for second in range(3, 200):
        last = rate.at(float(second), 10 + second)
    assert last == pytest.approx(1.0)


# -- who looks -----------------------------------------------------------------------------------------------------


def test_a_terminal_or_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_watched_by_somebody()
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_watched_by_somebody()
    # That a notebook's kernel is installed, or loaded by a test, makes no notebook.
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert not is_watched_by_somebody()
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    assert is_watched_by_somebody()


def test_a_switch_that_nobody_sees_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "ProgressBars", None)
    with loaded(tmp_path, progress=True) as kernel:
        assert kernel._watchers == ()
        assert python_app(abs)(-1).result() == 1


# -- bars ----------------------------------------------------------------------------------------------------------


def console(stream):
    rich_console = pytest.importorskip("rich.console")
    return rich_console.Console(file=stream, force_terminal=True, width=100)


def test_bars_of_a_kernel(tmp_path):
    stream = io.StringIO()
    leave = threading.Event()

    @python_app
    def fit(number):
        leave.wait(SOON)
        if number == 3:
            raise ValueError(number)

    with loaded(tmp_path) as kernel:
        early = fit(0)
        bars = ProgressBars(kernel, console(stream))
        bars.start()
        futures = [early, *(fit(number) for number in range(1, 5))]
        kernel.loop.call(lambda: None)
        leave.set()
        kernel.wait_for_current_tasks()
        bars.stop()
        bars.stop()
        assert kernel._watchers == ()
        assert [f.exception() is not None for f in futures] == [False, False, False, True, False]
    last = stream.getvalue().rpartition("fit")[2]
    assert "5/5" in last
    assert "1 failed" in last


def test_the_switch_of_a_configuration(tmp_path, monkeypatch):
    stream = io.StringIO()
    made = []

    class Bars(ProgressBars):
        def __init__(self, kernel):
            super().__init__(kernel, console(stream))
            made.append(self)

    monkeypatch.setattr(progress, "ProgressBars", Bars)
    monkeypatch.setattr(progress, "is_watched_by_somebody", lambda: True)
    with loaded(tmp_path, progress=True):
        python_app(abs)(-1).result()
    assert len(made) == 1
    assert "1/1" in stream.getvalue()


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(OptionalModuleMissing, match=r"parsl\[progress\]"):
        ProgressBars(SimpleNamespace())
