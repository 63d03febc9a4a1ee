"""What both engines do with categories, commands and the library's `wait`."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from parsl.executors import cctools_engine
from parsl.executors.cctools_engine import CctoolsEngine


class Engine(CctoolsEngine):
    """An engine that notes what it learns of."""

    def __init__(self, *, measured: bool = False, **options: Any) -> None:
        options = {"max_retries": 1, "init_command": "", "env": None, "packed": False, **options}
        super().__init__(measured=measured, **options)
        self.learnt: list[str] = []

    def _begin_to_learn(self, category: str) -> None:
        self.learnt.append(category)


def test_each_category_is_learnt_of_once_where_tasks_are_measured() -> None:
    measured, other = Engine(measured=True), Engine()
    for category in ("a", "b", "a"):
        measured._learn(category)
        other._learn(category)
    assert (measured.learnt, other.learnt) == (["a", "b"], [])


def test_what_is_measured_is_a_child_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cctools_engine, "command_line", lambda command, *, packed, warm: asked.append(warm) or "run")
    assert Engine()._command == Engine()._command == "run"
    Engine(measured=True)
    first, second, measured = asked
    assert first != second, "servers of two managers on one host are not to be mixed up"
    assert (len(first), measured) == (16, "")


def test_the_library_is_found_under_one_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str, object]] = []
    monkeypatch.setattr(cctools_engine, "NeverWaits", lambda *words: told.append(words))
    monkeypatch.setitem(sys.modules, "_library", SimpleNamespace(__file__="/lib/_library.so"))
    engine = Engine()
    engine._wait_no_longer(("pack._library", "_library"), "enable", SimpleNamespace(native=7), "native")
    assert told == [("/lib/_library.so", "enable", 7)]
    assert engine._wait == 5


@pytest.mark.parametrize("manager", [SimpleNamespace(native=7), SimpleNamespace()])
def test_one_that_cannot_be_told_waits_as_short_as_it_can(manager: Any, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine()
    with caplog.at_level(logging.WARNING):
        engine._wait_no_longer(("no_such_library",), "no_such_function", manager, "native")
    assert engine._wait == 1
    assert "cannot be told not to wait" in caplog.text
