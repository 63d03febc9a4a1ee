"""The errors of TaskVine travel."""

from __future__ import annotations

import pickle

import pytest

from parsl.executors.taskvine.errors import TaskVineManagerFailure, TaskVineTaskFailure, TaskVineWorkerLost


@pytest.mark.parametrize(
    "error",
    [
        TaskVineManagerFailure("no port"),
        TaskVineTaskFailure("it was too large", 3),
        TaskVineWorkerLost("gone", 137, "wq"),
    ],
)
def test_errors_survive_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
