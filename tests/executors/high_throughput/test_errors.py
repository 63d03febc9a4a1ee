from __future__ import annotations

import pickle

import pytest

from parsl.executors.high_throughput import interchange
from parsl.executors.high_throughput.errors import (
    CommandClientBadError,
    CommandClientTimeoutError,
    InterchangeLost,
    ManagerLost,
    VersionMismatch,
    WorkerLost,
)

ERRORS = [
    (WorkerLost(3, "node7"), ["worker 3", "node7"]),
    (ManagerLost(b"abc", "node7"), ["manager abc", "node7"]),
    (ManagerLost("abc", "node7"), ["manager abc", "node7"]),
    (InterchangeLost("htex", "signal SIGKILL"), ["htex", "signal SIGKILL"]),
    (VersionMismatch("Python 3.12", "Python 3.11"), ["Python 3.12", "Python 3.11", "worker_init"]),
    (CommandClientBadError(), ["can no longer be used"]),
    (CommandClientTimeoutError(), ["did not answer"]),
]


@pytest.mark.parametrize(("error", "words"), ERRORS)
def test_the_text_names_what_is_concerned(error, words):
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(("error", "words"), ERRORS)
def test_errors_travel(error, words):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize("error", [WorkerLost(3, "node7"), ManagerLost("abc", "node7")])
def test_the_cause_is_told_where_it_is_known_and_travels(error):
    plain = str(error)
    error.cause = "signal SIGKILL"
    assert str(error) == f"{plain} (signal SIGKILL)"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_attributes():
    assert (WorkerLost(3, "n").worker_id, WorkerLost(3, "n").hostname) == (3, "n")
    assert (ManagerLost(b"m", "n").manager_id, ManagerLost("m", "n").hostname) == ("m", "n")
    mismatch = VersionMismatch("a", "b")
    assert (mismatch.interchange_version, mismatch.manager_version) == ("a", "b")


def test_names_that_others_import_from_the_interchange():
    assert interchange.ManagerLost is ManagerLost
    assert interchange.VersionMismatch is VersionMismatch
