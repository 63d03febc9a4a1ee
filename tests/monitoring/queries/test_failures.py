from __future__ import annotations

import pytest

from parsl.dataflow.states import States
from parsl.monitoring.queries.failures import causes, shape
from parsl.monitoring.queries.runs import RunQueries
from tests.monitoring.visualization.made import began, failed, not_run, ran, submitted, write


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cell 17 did not converge after 3.5 s", "cell 4 did not converge after 12 s"),
        ("no file /data/a/b.txt", "no file /scratch/x.txt"),
        ("<object at 0x7f00ab>", "<object at 0x7fee01>"),
    ],
)
def test_what_varies_is_no_other_cause(one, other):
    assert shape(one) == shape(other)


@pytest.mark.parametrize(("one", "other"), [("no memory", "no disk"), ("a/b", "c/d")])
def test_words_are(one, other):
    assert shape(one) != shape(other)


def test_failures_are_grouped_and_those_not_run_come_last(url):
    records = [began(), *(submitted(n, "simulate" if n < 4 else "collect") for n in range(12))]
    for n in range(3):
        records += [*ran(n, "simulate", state=States.failed)]
        records.append(failed(n, "ValueError", f"cell {n}", "Traceback of it" if n == 2 else None))
    records += [*ran(3, "simulate", state=States.failed), failed(3, "OSError", "disk full")]
    for n in range(4, 12):
        records += [not_run(n, "collect"), failed(n, "DependencyError", f"task {n - 4} failed", None)]
    write(url, *records)
    with RunQueries(url) as queries:
        found = causes(queries, 1)
        assert len(causes(queries, 1, limit=1)) == 1
    assert [(c.kind, c.count, c.app, c.dependency) for c in found] == [
        ("ValueError", 3, "simulate", False),
        ("OSError", 1, "simulate", False),
        ("DependencyError", 8, "collect", True),
    ]
    assert found[0].traceback == "Traceback of it"
    assert len(found[2].tasks) == 5
