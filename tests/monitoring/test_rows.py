"""The one property that matters: however records are cut into batches, the database ends up the same."""

from __future__ import annotations

import gc
import itertools
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.dataflow.states import States
from parsl.monitoring import records
from parsl.monitoring.records import Usage, WorkerFacts, encode, encode_short, encode_usage
from parsl.monitoring.rows import Rows, Workers
from parsl.monitoring.schema import TABLES, columns
from parsl.monitoring.store import Store
from parsl.monitoring.totals import Totals

FACTS = encode(WorkerFacts("0", "node", 7, 10, 20, 0.1))
SHORT = encode_short(1.5, 1.75, 0.2, FACTS)
FULL = encode_usage(Usage(at=2.0, started=1.0, ended=2.0, block="0", hostname="node", pid=8, user=0.5))

LIVES = {
    "ran": [(records.RAN, 1, "f", "htex", 1.0, 1.1, 2.0, int(States.exec_done), SHORT)],
    "slow": [
        (records.SUBMITTED, 1, 1.0, "f", "htex", None, None),
        (records.LAUNCHED, 1, 0, 1.1, "htex", "[1]"),
        (records.SAMPLED, 1, 0, encode_usage(Usage(at=1.7, started=1.2, block="0", hostname="node", pid=8))),
        (records.ENDED, 1, 0, 2.0, int(States.exec_done), 0, 0.0, "hash", "f", 0.9, FULL, "htex"),
    ],
    "retried": [
        (records.SUBMITTED, 1, 1.0, "f", "htex", 1.1, (1, 0, "0", None, None, None, None, None)),
        (records.MOVED, 1, 0, 1.2, int(States.fail_retryable), "ValueError('x')", None, SHORT, "f", "htex", 0.1),
        (records.MOVED, 1, 1, 1.2, int(States.pending), None, None, None),
        (records.LAUNCHED, 1, 1, 1.3, "htex", None),
        (records.ENDED, 1, 1, 2.0, int(States.failed), 2, 2.0, None, "f", 0.7, FULL, "htex"),
        (records.FAILED, 1, 1, "ValueError", "ValueError('y')", "Traceback ..."),
    ],
    "joining": [
        (records.SUBMITTED, 1, 1.0, "f", "_parsl_internal", 1.1, (0, 1, None, None, None, None, None, None)),
        (records.MOVED, 1, 0, 1.2, int(States.joining), None, "2,3", None, "f", "_parsl_internal", 0.1),
        (records.EDGES, "f", 1, {"g": 2}),
        (records.ENDED, 1, 0, 2.0, int(States.exec_done), 0, 0.0, None, "f", None, None),
    ],
    "dependency failed": [
        (records.SUBMITTED, 1, 1.0, "f", "htex", None, (0, 0, "0", None, None, None, None, None)),
        (records.ENDED, 1, 0, 2.0, int(States.dep_fail), 0, 0.0, None, "f", None, None),
        (records.FAILED, 1, 0, "DependencyError", "it", None),
    ],
    "memo": [
        (records.SUBMITTED, 1, 1.0, "f", "htex", None, (1, 0, None, None, None, None, None, None)),
        (records.ENDED, 1, 0, 2.0, int(States.memo_done), 0, 0.0, "hash", "f", None, None),
    ],
}  # fmt: skip

STATES = {
    "ran": ["pending", "launched", "running", "running_ended", "exec_done"],
    "slow": ["pending", "launched", "running", "running_ended", "exec_done"],
    "retried": [
        *("pending", "launched", "running", "running_ended", "fail_retryable"),
        *("pending", "launched", "running", "running_ended", "failed"),
    ],
    "joining": ["pending", "launched", "joining", "exec_done"],
    "dependency failed": ["pending", "dep_fail"],
    "memo": ["pending", "memo_done"],
}


def written(batches):
    """Write batches into a database in memory, and return the rows of all tables and of the public status table."""
    store = Store("sqlite://")
    store.prepare()
    run, segment, position, last = store.open_run("a")
    workers, totals = Workers(last), Totals()
    for number, batch in enumerate(batches):
        rows = Rows(run, workers, totals)
        rows.add([list(record) for record in batch])
        store.write("a", rows, segment, position + number)
    with store.engine.connect() as connection:
        found = {}
        for name in [*TABLES, "status"]:
            rows = [tuple(r) for r in connection.exec_driver_sql(f"SELECT * FROM {name}")]
            found[name] = sorted(rows, key=repr)
    store.close()
    del found["parsl_journal"]
    return found


@pytest.mark.parametrize("life", LIVES)
def test_a_life_gives_its_states(life):
    found = written([LIVES[life]])
    names = [row[3] for row in found["status"]]
    assert sorted(names) == sorted(STATES[life])
    assert len(found["parsl_task"]) == 1
    tries = {"retried": 2, "dependency failed": 0, "memo": 0}.get(life, 1)
    assert len(found["parsl_try"]) == tries


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_batches_may_be_cut_anywhere(data):
    life = data.draw(st.sampled_from(sorted(LIVES)))
    whole = LIVES[life]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))))
    edges = [0, *cuts, len(whole)]
    batches = [whole[a:b] for a, b in itertools.pairwise(edges)]
    assert written(batches) == written([whole])


def test_a_record_that_cannot_be_read_stops_no_other(caplog):
    rows = Rows(1, Workers())
    rows.add([[99, 1], [], ["x"], [records.ENDED, 1], [records.SAMPLED, 1, 0, b"f\x93"], list(LIVES["ran"][0])])
    assert list(rows.tasks) == [1]
    assert len([r for r in caplog.records if "cannot be read" in r.message]) == 5


def test_rows_have_the_columns_of_their_tables():
    rows = Rows(1, Workers())
    for life in LIVES.values():
        rows.add([list(r) for r in life])
    rows.add([[records.NODE, {"uid": "m"}], [records.BLOCK, {"block": "0"}], [records.FILE, 1, 0, "n", "u", None]])
    for name, found in [("parsl_task", rows.tasks), ("parsl_try", rows.tries), ("parsl_more", rows.more)]:
        assert {len(row) for row in found.values()} == {len(columns(name))}, name
    for name, found in rows.others.items():
        assert {len(row) for row in found} == {len(columns(name))}, name


def test_rows_are_gone_after_their_use_without_a_collector():
    gc.disable()
    try:
        rows = Rows(1, Workers())
        rows.add([list(r) for r in LIVES["slow"]])
        gone = weakref.ref(rows)
        del rows
        assert gone() is None
    finally:
        gc.enable()


def test_ends_are_counted():
    rows = Rows(1, Workers())
    for life in LIVES.values():
        rows.add([list(r) for r in life])
    assert (rows.ended, rows.failed) == (4, 2)
