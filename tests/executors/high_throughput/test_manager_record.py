from __future__ import annotations

import pytest

from parsl.executors.high_throughput.manager_record import ManagerRecord
from parsl.executors.high_throughput.messages import PROTOCOL_VERSION, Register

ABOUT = Register(
    "m", PROTOCOL_VERSION, "7", "node", 4, 6, "3.12.1", "2026.11.0", "/shm", "token", 99, packages={"dill": "1"}
)


@pytest.fixture
def record():
    return ManagerRecord(b"m\xff", ABOUT, 100.0)


def test_a_new_manager_is_idle_and_wants_what_it_said(record):
    assert (record.credit, record.free, record.tasks, record.idle_since) == (6, 6, set(), 100.0)
    assert record.active
    assert not record.draining


@pytest.mark.parametrize(
    ("active", "credit", "tasks", "free"), [(True, 6, 2, 4), (True, 2, 2, 0), (True, 1, 3, -2), (False, 6, 2, 0)]
)
def test_free(record, active, credit, tasks, free):
    record.active, record.credit, record.tasks = active, credit, set(range(tasks))
    assert record.free == free


def test_the_view_has_the_entries_of_connected_managers(record):
    record.tasks = {1, 2}
    view = record.view(103.5)
    assert {name: getattr(view, name) for name in view.__struct_fields__} == {
        "manager": "m�",
        "block_id": "7",
        "worker_count": 4,
        "tasks": 2,
        "idle_duration": 3.5,
        "active": True,
        "draining": False,
        "parsl_version": "2026.11.0",
        "python_version": "3.12.1",
        "hostname": "node",
        "process_id": 99,
        "capacity": 6,
        "packages": {"dill": "1"},
    }
    record.idle_since = None
    assert record.view(200).idle_duration == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_id", "7"),
        ("worker_count", 4),
        ("max_capacity", 6),
        ("tasks", set()),
        ("active", True),
        ("draining", False),
        ("hostname", "node"),
        ("parsl_version", "2026.11.0"),
        ("python_version", "3.12.1"),
        ("last_heartbeat", 100.0),
        ("idle_since", 100.0),
        ("packages", {"dill": "1"}),
    ],
)
def test_selectors_may_read_it_as_a_mapping(record, key, value):
    assert record[key] == value
    assert record.get(key) == value


def test_a_key_that_it_does_not_have(record):
    with pytest.raises(KeyError, match="colour"):
        record["colour"]
    assert record.get("colour") is None
    assert record.get("colour", 3) == 3
