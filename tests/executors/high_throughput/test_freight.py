"""Buffers between frames and a node's store, with the store of the interchange's node at the other end."""

from __future__ import annotations

import errno
import os

import msgspec
import pytest

from parsl.executors.high_throughput.freight import Freight
from parsl.executors.high_throughput.messages import DONE, RAISED, Payload, Result, Segment, Task
from parsl.executors.high_throughput.segments import SegmentStore
from parsl.serialize import facade

LARGE = b"x" * 100_000


@pytest.fixture
def here():
    store = SegmentStore()
    yield store
    store.close()


@pytest.fixture
def there():
    store = SegmentStore()
    yield store
    store.close()


@pytest.fixture
def freight(here):
    return Freight(here, "node7")


def files(store):
    return [name for name in os.listdir(store.folder) if name[0].isdigit()]


def shipped_tasks(store, *bodies):
    """Return tasks and frames as the interchange sends them to another node."""
    frames = [b""]
    tasks = [Task(n, 0, store.ship(store.payload(body), frames)) for n, body in enumerate(bodies, 1)]
    return tasks, frames


def error_of(result):
    wrapper, where = facade.unpack(result.payload.body, [])
    return wrapper.get_exception(), where


def test_arguments_land_in_the_store_and_go_when_their_calls_have_ended(freight, here, there):
    tasks, frames = shipped_tasks(there, LARGE, b"small")
    landed, refused = freight.land(tasks, frames)
    assert refused == []
    assert [bytes(here.open(task.payload)[0]) for task in landed] == [LARGE, b"small"]
    assert len(files(here)) == 1
    results = [Result(task.id, DONE, Payload(b"done")) for task in landed]
    assert freight.ship(results, [b""]) == results
    assert files(here) == []


def test_results_leave_as_frames_and_stay_until_they_are_delivered(freight, here, there):
    result = Result(1, DONE, here.payload(LARGE))
    for _ in range(2):  # the second time to another interchange, when the first has died
        frames = [b""]
        (shipped,) = freight.ship([result], frames)
        payload = there.land(shipped.payload, frames)
        assert bytes(there.open(payload)[0]) == LARGE
    assert len(files(here)) == 1
    freight.delivered([result])
    assert files(here) == []
    freight.delivered([result])


def test_a_task_without_room_ends_alone(freight, here, there, monkeypatch):
    land = here.land

    def full(payload, frames):
        if payload.segment is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return land(payload, frames)

    monkeypatch.setattr(here, "land", full)
    landed, (refused,) = freight.land(*shipped_tasks(there, LARGE, b"small"))
    assert [task.id for task in landed] == [2]
    assert (refused.id, refused.status) == (1, RAISED)
    error, where = error_of(refused)
    assert (type(error), error.errno) == (OSError, errno.ENOSPC)
    assert "host node7" in where


def test_a_result_that_is_gone_is_that_calls_error(freight, here):
    gone = Result(1, DONE, Payload(b"", Segment("not-there", [5], [False])))
    good = Result(2, DONE, here.payload(LARGE))
    frames = [b""]
    first, second = freight.ship([gone, good], frames)
    assert (first.id, first.status, second.status, len(frames)) == (1, RAISED, DONE, 2)
    error, where = error_of(first)
    assert isinstance(error, FileNotFoundError)
    assert "host node7" in where


def test_what_is_landed_or_shipped_keeps_all_else(freight, there):
    tasks, frames = shipped_tasks(there, LARGE)
    task = msgspec.structs.replace(tasks[0], function=5, resources={"priority": 1})
    ((landed,), _) = freight.land([task], frames)
    assert (landed.function, landed.resources) == (5, {"priority": 1})
    (shipped,) = freight.ship([Result(1, DONE, Payload(b"x"), 0.5)], frames)
    assert shipped == Result(1, DONE, Payload(b"x"), 0.5)
