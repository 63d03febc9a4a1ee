"""The provider of the how-to guide, beyond what its script shows."""

from __future__ import annotations

import doctest
import re
import threading
import time
from pathlib import Path

import pytest

from parsl.jobs.states import JobState

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-provider.md"


@pytest.fixture(scope="module")
def page():
    text = PAGE.read_text(encoding="utf-8")
    names = {"__name__": "own_provider"}
    exec(re.search(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[1], names)
    return text, names


@pytest.fixture
def provider(page, tmp_path):
    provider = page[1]["ProcessProvider"](max_blocks=3)
    provider.script_dir = str(tmp_path / "a folder")
    yield provider
    assert all(provider.cancel(list(provider.resources)))


def wait_for(provider, job_id, state):
    pause = threading.Event()
    for _ in range(200):
        (status,) = provider.status([job_id])
        if status.state is state:
            return status
        pause.wait(0.05)
    raise AssertionError(status)


def test_the_examples_print_what_the_page_says(page):
    text, names = page
    (block,) = re.findall(r"^```pycon\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    example = doctest.DocTestParser().get_doctest(block, names, "page", str(PAGE), 0)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_jobs_run_end_and_are_cancelled(provider):
    good, bad = provider.submit("echo hello", 1), provider.submit("exit 7", 1)
    assert wait_for(provider, good, JobState.COMPLETED).stdout == "hello\n"
    assert wait_for(provider, bad, JobState.FAILED).exit_code == 7
    long = provider.submit("sleep 1000", 1)
    wait_for(provider, long, JobState.RUNNING)
    assert provider.cancel([good, long]) == [True, True]
    provider.clock = lambda: time.monotonic() + 60
    wait_for(provider, long, JobState.CANCELLED)
