"""The page of a task says why it waits, in the words of the kernel and the terminal."""

from __future__ import annotations

import html
import re

import pytest

from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.queries.waiting import why_waiting
from parsl.monitoring.records import WAITS
from tests.monitoring.visualization.made import EVIL, began, ran, serving, submitted, write

pytestmark = pytest.mark.leaks_ok("the server opens and starts what it needs when it is asked first")


def test_why_a_task_waits(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    said = (WAITS, 1, 1_000_100.0, "queued", f"is 3rd of 9 in the queue of executor {EVIL}", ["Block 0 is RUNNING."])
    write(url, began(), submitted(1), submitted(2, depends="1"), said, submitted(3), *ran(3))
    with serving(url) as client:
        page = client.get("/runs/run-1/tasks/2").text
        ended = client.get("/runs/run-1/tasks/3").text
    found = re.search(r"<h2>Why it waits</h2>\s*<pre class=\"log\">(.*?)</pre>", page, re.DOTALL)
    shown = html.unescape(found[1])
    assert shown.startswith("Task 2 (app) waits for task 1 (app).\n  Task 1 (app) is 3rd of 9 in the queue of ")
    assert EVIL not in page
    with RunQueries(url) as queries:
        # But for how long ago that was said.
        assert shown.rpartition("\n")[0] == str(why_waiting(queries, 1, 2)).rpartition("\n")[0]
    assert re.search(r'id="waits"[^>]* hidden', ended)
