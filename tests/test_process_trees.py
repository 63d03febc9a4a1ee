"""Finding and killing what programs have started, by parents and by a mark in the environment."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from parsl import process_trees
from parsl.process_trees import kill_marked, kill_processes, marked

# Says a line once it and its child are there; waits for its standard input to end, which it never does.
PROGRAM = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
input()
"""


@pytest.fixture
def tree() -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """Start a program and its child, which leads a session of its own; both have the variable MARK=here."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MARK": "here"},
    )
    with program:
        assert program.stdout is not None
        child = psutil.Process(int(program.stdout.readline()))
        yield program, child
        kill_processes([psutil.Process(program.pid), child] if program.poll() is None else [child])


def test_marked_ones_are_found_by_all_their_variables(tree: tuple[subprocess.Popen[str], psutil.Process]) -> None:
    program, child = tree
    both = [psutil.Process(program.pid), child]
    assert marked([*both, psutil.Process()], {"MARK": "here"}) == both
    assert marked(both, {"MARK": "elsewhere"}) == []
    assert marked(both, {"MARK": "here", "OTHER": "no"}) == []


def test_a_process_that_is_gone_is_not_marked(tree: tuple[subprocess.Popen[str], psutil.Process]) -> None:
    program, child = tree
    gone = psutil.Process(program.pid)
    program.kill()
    program.wait()
    assert marked([gone, child], {"MARK": "here"}) == [child]
    assert not kill_processes([gone])


def test_what_is_marked_is_killed_though_its_parent_is_gone(
    tree: tuple[subprocess.Popen[str], psutil.Process],
) -> None:
    program, child = tree
    program.kill()
    program.wait()
    kill_marked({"MARK": "here"})
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_this_process_is_never_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    kill_marked({"PATH": os.environ["PATH"], "PARSL_NO_SUCH_MARK": "1"})
    seen: list[int] = []
    monkeypatch.setattr(process_trees, "marked", lambda processes, _: seen.extend(p.pid for p in processes) or [])
    kill_marked({"MARK": "here"})
    assert os.getpid() not in seen
    assert os.getppid() in seen


def test_giving_up_on_what_starts_others_faster_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Hydra:
        pid = 1

        def send_signal(self, number: int) -> None:
            pass

    monkeypatch.setattr(process_trees, "marked", lambda processes, _: [Hydra()])
    monkeypatch.setattr(psutil, "wait_procs", lambda processes, timeout: None)
    with caplog.at_level(logging.WARNING):
        kill_marked({"MARK": "here"})
    assert "faster than they can be killed" in caplog.text


def test_without_a_mark_nothing_is_killed() -> None:
    with pytest.raises(ValueError, match="at least one variable"):
        kill_marked({})
