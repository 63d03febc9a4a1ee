"""Sums that are added to batch by batch, in either database, against sums of the same rows made at once."""

from __future__ import annotations

import random

import pytest

from parsl.dataflow.states import States
from parsl.monitoring import schema
from parsl.monitoring.queries import graphs, plots
from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.records import ENDED, LAUNCHED, MOVED, SAMPLED, WorkerFacts, encode, encode_short
from parsl.monitoring.store import Store
from parsl.monitoring.totals import BINS, SLOWEST
from tests.monitoring.visualization.made import BEGIN, Writer, a_run, began, edges, joining, ran, submitted, usage

TABLES = ("parsl_flow", "parsl_use", "parsl_durations", "parsl_slow", "parsl_edge")
FACTS = encode(WorkerFacts("0", "node-3", 7, 10, 20, 0.1))


def rows_of(store):
    with store.engine.connect() as connection:
        found = {}
        for table in TABLES:
            names = schema.columns(table)
            keys = schema.TABLES[table][0]
            rows = connection.exec_driver_sql(f"SELECT {', '.join(names)} FROM {table}")
            found[table] = {tuple(row[:keys]): [float(value or 0) for value in row[keys:]] for row in rows}
    return found


def retried(task):
    return [
        submitted(task, "again"),
        (LAUNCHED, task, 0, BEGIN + 2, "htex", None),
        (MOVED, task, 0, BEGIN + 7, int(States.fail_retryable), "no", None, None, "again", "htex", 5.0),
        (MOVED, task, 1, BEGIN + 7, int(States.pending), None, None, None, "again", "htex", None),
        (LAUNCHED, task, 1, BEGIN + 8, "htex", None),
        (SAMPLED, task, 1, usage(BEGIN + 8, BEGIN + 8.5)),
        (ENDED, task, 1, BEGIN + 9, int(States.exec_done), 1, 1.0, None, "again", 1.0, usage(BEGIN + 8, BEGIN + 8.9),
         "htex"),
    ]  # fmt: skip


def a_long_run():
    """A run in parts, which gets longer and longer: its bins must become coarser again and again."""
    yield a_run()
    yield [*retried(100), submitted(101, "short"), submitted(102, "unseen"), submitted(103, "start")]
    short = encode_short(BEGIN + 20, BEGIN + 20.001, 0.001, FACTS)
    yield [
        (LAUNCHED, 101, 0, BEGIN + 19, "htex", None),
        (ENDED, 101, 0, BEGIN + 21, int(States.exec_done), 0, 0.0, None, "short", 2.0, short, "htex"),
        (LAUNCHED, 102, 0, BEGIN + 19, "threads", None),
        (ENDED, 102, 0, BEGIN + 23, int(States.exec_done), 0, 0.0, None, "unseen", 4.0, None, "threads"),
        (LAUNCHED, 103, 0, BEGIN + 2.5, "htex", None),
        joining(103, "0,1"),
        edges("start", 1, simulate=2),
    ]
    chance = random.Random(5)
    for part in range(12):
        start = BEGIN + 3 * 2**part
        took = [chance.uniform(0, 2**part) for _ in range(20)]
        first = 200 + 20 * part
        yield [submitted(first + n, f"app{n % 3}", at=start + n / 10) for n in range(20)]
        yield [
            record
            for n in range(20)
            for record in ran(first + n, f"app{n % 3}", start + n, start + n + took[n], pid=n % 4, host=f"node-{n % 3}")
        ]


def test_sums_that_grow_are_those_of_the_whole(url):
    writer = Writer(url)
    for part in a_long_run():
        writer.write(*part)
    writer.close()
    store = Store(url)
    grown = rows_of(store)
    levels = {key[1] for key in grown["parsl_flow"]}
    assert len(levels) == 1
    assert levels == {key[1] for key in grown["parsl_use"]}
    bins = [key[2] for key in grown["parsl_flow"]]
    assert BINS // 2 <= max(bins) - min(bins) < BINS
    assert len(grown["parsl_slow"]) == SLOWEST

    # As a database of the version without sums.
    with store.engine.begin() as connection:
        for table in TABLES:
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("UPDATE parsl_schema SET version = 1")
    with pytest.raises(ValueError, match="version 1"):
        RunQueries(url)
    store.prepare()
    made = rows_of(store)
    store.close()
    for table in TABLES:
        assert {k for k, v in made[table].items() if any(v)} == {k for k, v in grown[table].items() if any(v)}, table
        for key, row in grown[table].items():
            if any(row):
                assert made[table][key] == pytest.approx(row, abs=1e-3), (table, key)


def test_plots_of_a_long_run_are_small_and_add_up(url):
    writer = Writer(url)
    for part in a_long_run():
        writer.write(*part)
    writer.close()
    with RunQueries(url) as queries:
        moments = plots.states_over_time(queries, 1)
        assert len(moments) <= BINS + 1
        assert sum(moments[-1][1:]) == sum(queries.state_counts(1).values())
        assert (
            sum(sum(counts) for counts in plots.durations(queries, 1).values())
            == queries.select("SELECT count(*) FROM parsl_try WHERE returned IS NOT NULL")[0][0]
        )
        slowest = queries.slowest(1, 5)
        ran_for = [task.running_ended - task.running for task in slowest]
        assert ran_for == sorted(ran_for, reverse=True)
        assert ran_for[0] == queries.select("SELECT max(running_ended - running) FROM parsl_try")[0][0]
        nodes = {row["hostname"]: row["tries"] for row in queries.resources_by_node(1)}
        assert nodes["node-3"] == 1
        assert sum(nodes.values()) == queries.select("SELECT count(*) FROM parsl_try WHERE worker IS NOT NULL")[0][0]
        assert {(e.before, e.after, e.join) for e in graphs.app_graph(queries, 1).edges} > {("simulate", "start", True)}


def test_each_node_has_a_lane_where_workers_are_many(url):
    records = [began()]
    for task in range(200):
        records += [submitted(task), *ran(task, pid=task, host=f"node-{task % 5}")]
    writer = Writer(url)
    writer.write(*records)
    writer.close()
    with RunQueries(url) as queries:
        lanes = plots.usage_over_time(queries, 1).lanes
        assert queries.select("SELECT count(DISTINCT worker) FROM parsl_use")[0][0] == 64
    assert [lane.label for lane in lanes] == [f"node-{n}" for n in range(5)]
    assert [max(lane.busy) for lane in lanes] == pytest.approx([40] * 5)
