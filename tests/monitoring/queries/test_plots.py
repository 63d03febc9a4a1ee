from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.dataflow.states import States
from parsl.monitoring.queries import plots
from parsl.monitoring.queries.runs import RunQueries
from tests.monitoring.visualization.made import BEGIN, began, completed, not_run, ran, submitted, write


def test_states_over_time_add_up(url):
    write(
        url, began(), *(submitted(n) for n in range(4)), *ran(0), *ran(1, state=States.failed), not_run(2), completed()
    )
    with RunQueries(url) as queries:
        moments = plots.states_over_time(queries, 1, bins=10)
    assert [moment.at for moment in moments] == [BEGIN + n for n in range(1, 11)]
    # Called at 1, launched at 1.5, ended at 3, one not run at 4; the one that never was launched stays.
    assert [tuple(moment)[1:] for moment in moments[:5]] == [
        (0, 0, 0, 0), (2, 2, 0, 0), (2, 2, 0, 0), (2, 0, 1, 1), (1, 0, 1, 2),
    ]  # fmt: skip
    assert all(sum(moment[1:]) in {0, 4} for moment in moments)


def test_a_killed_run_ends_with_its_last_event(url):
    write(url, began(), submitted(0), *ran(0))
    with RunQueries(url) as queries:
        assert plots.span(queries, 1) == (BEGIN, BEGIN + 3)


def test_a_run_that_goes_on_ends_now(url, monkeypatch):
    write(url, began(), submitted(0), *ran(0))
    monkeypatch.setattr(plots.time, "time", lambda: BEGIN + 100)
    with RunQueries(url) as queries:
        assert plots.span(queries, 1) == (BEGIN, BEGIN + 100)


def test_a_run_of_which_only_tasks_are_known_can_be_drawn(url):
    write(url, submitted(0), *ran(0))
    with RunQueries(url) as queries:
        assert plots.span(queries, 1) == (BEGIN + 1, BEGIN + 3)
        assert len(plots.states_over_time(queries, 1)) == 240


def test_usage_is_by_worker_and_by_node(url):
    write(
        url,
        began(),
        *(submitted(n) for n in range(3)),
        *ran(0, start=BEGIN + 1, end=BEGIN + 4, pid=1, cpu=1.5),
        *ran(1, start=BEGIN + 2, end=BEGIN + 3, pid=2, cpu=1.0),
        *ran(2, start=BEGIN + 4, end=BEGIN + 4.5, pid=2, host="node-2", cpu=0.1),
        completed(),
    )
    with RunQueries(url) as queries:
        by_worker = plots.usage_over_time(queries, 1, bins=10)
        by_node = plots.usage_over_time(queries, 1, bins=10, resources=True)
    assert [lane.label for lane in by_worker.lanes] == ["node-1 · 1", "node-1 · 2", "node-2 · 2"]
    assert by_worker.lanes[0].busy[:5] == pytest.approx([0, 1, 1, 1, 0])
    assert by_worker.lanes[2].busy[:6] == pytest.approx([0, 0, 0, 0, 0.5, 0])
    assert [lane.label for lane in by_node.lanes] == ["node-1", "node-2"]
    assert by_node.lanes[0].busy[:5] == pytest.approx([0, 1, 2, 1, 0])
    assert by_node.lanes[0].cpu[:5] == pytest.approx([0, 0.5, 1.5, 0.5, 0])
    assert by_node.lanes[0].memory[2] == pytest.approx(2 * (100 << 20))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 5)), min_size=1, max_size=8))
def test_usage_is_the_share_of_each_bin(tmp_path_factory, tries):
    url = f"sqlite:///{tmp_path_factory.mktemp('usage')}/monitoring.db"
    write(
        url,
        began(),
        *(submitted(n) for n in range(len(tries))),
        *(r for n, (start, took) in enumerate(tries) for r in ran(n, start=BEGIN + start, end=BEGIN + start + took)),
        completed(BEGIN + 15),
    )
    with RunQueries(url) as queries:
        (lane,) = plots.usage_over_time(queries, 1, bins=15).lanes
    for number, busy in enumerate(lane.busy):
        expected = sum(max(min(start + took, number + 1) - max(start, number), 0) for start, took in tries)
        assert busy == pytest.approx(expected, abs=1e-3)


def test_bars_are_the_newest_tries(url):
    write(url, began(), *(submitted(n) for n in range(5)), *(r for n in range(5) for r in ran(n)), completed())
    with RunQueries(url) as queries:
        bars = plots.bars(queries, 1, limit=2)
    assert [(bar.task, bar.state, bar.lane, bar.began, bar.ended) for bar in bars] == [
        (n, States.exec_done, "node-1 · 1", BEGIN + 2, BEGIN + 3) for n in (3, 4)
    ]


def test_durations_are_counted_by_class(url):
    write(
        url,
        began(),
        *(submitted(n, f"app{n % 2}") for n in range(3)),
        *ran(0, end=BEGIN + 2.002),
        *ran(1, end=BEGIN + 3),
        *ran(2, end=BEGIN + 2 + 1e7),
    )
    with RunQueries(url) as queries:
        found = plots.durations(queries, 1)
        assert plots.executors(queries, 1) == ["htex"]
    used = {app: [n for n, count in enumerate(counts) if count] for app, counts in found.items()}
    assert used == {"app0": [1, len(plots.DURATIONS)], "app1": [plots.DURATIONS.index(1.0)]}
