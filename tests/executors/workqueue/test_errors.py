"""The errors of Work Queue travel."""

from __future__ import annotations

import pickle

import pytest

from parsl.executors.workqueue.errors import WorkQueueFailure, WorkQueueTaskFailure, WorkQueueWorkerLost


@pytest.mark.parametrize(
    "error",
    [WorkQueueFailure("no port"), WorkQueueTaskFailure("it was too large", 3), WorkQueueWorkerLost("gone", 137, "wq")],
)
def test_errors_survive_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
