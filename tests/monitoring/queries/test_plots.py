from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.dataflow.states import States
from parsl.monitoring.queries import plots
from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.records import LAUNCHED, SAMPLED, Usage, encode_usage
from parsl.monitoring.totals import DURATIONS
from tests.monitoring.visualization.made import BEGIN, began, completed, not_run, ran, submitted, write


def by_second(usage, values):
    """Return the mean of each second since the begin of the run, which is a whole number of bins."""
    first = round((BEGIN - usage.began) / usage.width)
    each = round(1 / usage.width)
    assert first >= 0
    assert each * usage.width == 1
    return [sum(values[at : at + each]) / each for at in range(first, len(values) - each + 1, each)]


def test_states_over_time_add_up(url):
    write(
        url, began(), *(submitted(n) for n in range(4)), *ran(0), *ran(1, state=States.failed), not_run(2), completed()
    )
    with RunQueries(url) as queries:
        moments = plots.states_over_time(queries, 1)
    # The run took ten seconds: bins are a sixteenth of one.
    assert [moment.at for moment in moments] == [BEGIN + n / 16 for n in range(1, 161)] + [BEGIN + 10]
    # Called at 1, launched at 1.5, ended at 3, one not run at 4; the one that never was launched stays.
    by_second = {moment.at - BEGIN: tuple(moment)[1:] for moment in moments}
    assert [by_second[at] for at in (1, 1.25, 2, 2.5, 3.5, 4.5)] == [
        (0, 0, 0, 0), (4, 0, 0, 0), (2, 2, 0, 0), (2, 2, 0, 0), (2, 0, 1, 1), (1, 0, 1, 2),
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
        assert len(plots.states_over_time(queries, 1)) == 129


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
        by_worker = plots.usage_over_time(queries, 1)
        by_node = plots.usage_over_time(queries, 1, resources=True)
    assert [lane.label for lane in by_worker.lanes] == ["node-1 · 1", "node-1 · 2", "node-2 · 2"]
    seconds = functools.partial(by_second, by_worker)
    assert seconds(by_worker.lanes[0].busy)[:5] == pytest.approx([0, 1, 1, 1, 0])
    assert seconds(by_worker.lanes[2].busy)[:6] == pytest.approx([0, 0, 0, 0, 0.5, 0])
    assert [lane.label for lane in by_node.lanes] == ["node-1", "node-2"]
    assert seconds(by_node.lanes[0].busy)[:5] == pytest.approx([0, 1, 2, 1, 0])
    assert seconds(by_node.lanes[0].cpu)[:5] == pytest.approx([0, 0.5, 1.5, 0.5, 0])
    assert seconds(by_node.lanes[0].memory)[2] == pytest.approx(2 * (100 << 20))


def test_what_is_under_way_is_busy_until_now(url, monkeypatch):
    sampled = Usage(BEGIN + 4, BEGIN + 2, None, "0", "node-1", 1, 1.0, 0.0, 100 << 20)
    write(
        url,
        began(),
        *(submitted(n) for n in range(3)),
        *((LAUNCHED, n, 0, BEGIN + 1, "htex", None) for n in range(2)),
        (SAMPLED, 0, 0, encode_usage(sampled)),
    )
    monkeypatch.setattr(plots.time, "time", lambda: BEGIN + 10)
    with RunQueries(url) as queries:
        usage = plots.usage_over_time(queries, 1, resources=True)
        (row,) = queries.resources_by_node(1)
    # The second is with its executor since 1, and no worker has said that it has it.
    waiting, running = usage.lanes
    assert (waiting.label, running.label) == ("htex", "node-1")
    assert by_second(usage, waiting.busy) == pytest.approx([0] + [1] * 9)
    assert by_second(usage, running.busy) == pytest.approx([0, 0] + [1] * 8)
    assert by_second(usage, running.cpu)[5] == pytest.approx(0.5)
    assert by_second(usage, running.memory)[9] == pytest.approx(100 << 20)
    assert row == {"hostname": "node-1", "tries": 1, "cpu_seconds": 1.0, "most_resident": 100 << 20}


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
        usage = plots.usage_over_time(queries, 1)
    for number, busy in enumerate(by_second(usage, usage.lanes[0].busy)):
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
        *ran(0, "app0", end=BEGIN + 2.002),
        *ran(1, "app1", end=BEGIN + 3),
        *ran(2, "app0", end=BEGIN + 2 + 1e7),
    )
    with RunQueries(url) as queries:
        found = plots.durations(queries, 1)
        assert plots.executors(queries, 1) == ["htex"]
    used = {app: [n for n, count in enumerate(counts) if count] for app, counts in found.items()}
    assert used == {"app0": [1, len(DURATIONS)], "app1": [plots.DURATIONS.index(1.0)]}
