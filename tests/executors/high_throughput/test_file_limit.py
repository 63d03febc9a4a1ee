from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from parsl.executors.high_throughput.file_limit import OTHER_FILES, FileBudget, raise_file_limit

RAISE = """
import resource
from parsl.executors.high_throughput.file_limit import raise_file_limit
print(raise_file_limit({most}), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "most", "limit"),
    [(256, 4096, None, 4096), (256, 4096, 1024, 1024), (2048, 4096, 1024, 2048), (256, 256, None, 256)],
)
def test_the_soft_limit_goes_as_far_as_it_may(soft, hard, most, limit):
    # In a process of its own: a hard limit cannot be raised again.
    command = f"ulimit -Sn {soft} && ulimit -Hn {hard} && exec {sys.executable} -c '{RAISE.format(most=most)}'"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [str(limit), str(limit), str(hard)]


def test_where_it_cannot_be_raised_it_stays_and_that_is_told(monkeypatch, caplog):
    def refuse(*_):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_file_limit() == 256
    assert "stays at 256" in caplog.text


def test_no_limit_is_no_problem(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert raise_file_limit(1024) == 1024


def test_the_limit_is_named_before_it_is_reached_and_when_it_is():
    budget = FileBudget(OTHER_FILES + 200)
    told = {n: problem for n in range(1, 300) if (problem := budget.problem(n)) is not None}
    assert list(told) == [180, 200]
    assert "180 managers" in told[180]
    assert "only a few more" in told[180]
    for text in (told[200],):
        for words in ("200 managers", "no more managers can connect", f"{OTHER_FILES + 200} files", "ulimit -Hn"):
            assert words in text


def test_a_limit_below_all_reason_is_named_with_the_first_manager():
    assert "no more managers" in FileBudget(10).problem(1)
