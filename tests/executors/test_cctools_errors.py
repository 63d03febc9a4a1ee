"""What the errors of both engines have in common."""

from __future__ import annotations

import pickle

import pytest

from parsl.app.errors import AppException
from parsl.executors.errors import EngineWorkerLost
from parsl.executors.taskvine.errors import TaskVineTaskFailure, TaskVineWorkerLost
from parsl.executors.workqueue.errors import WorkQueueTaskFailure, WorkQueueWorkerLost

ENGINES = [
    ("TaskVine", TaskVineTaskFailure, TaskVineWorkerLost),
    ("Work Queue", WorkQueueTaskFailure, WorkQueueWorkerLost),
]


@pytest.mark.parametrize(("engine", "failure", "lost"), ENGINES)
def test_a_failure_names_the_engine_and_a_loss_is_one(
    engine: str, failure: type[TaskVineTaskFailure], lost: type[TaskVineWorkerLost]
) -> None:
    error = failure("it was too large", 3)
    assert (error.reason, error.status) == ("it was too large", 3)
    assert str(error) == f"{engine} could not run the task: it was too large"
    assert isinstance(error, AppException)
    assert not isinstance(error, EngineWorkerLost)
    loss = lost("its worker was lost", 137, "here")
    assert isinstance(loss, failure)
    assert isinstance(loss, EngineWorkerLost)
    assert (loss.reason, loss.status, loss.label) == ("its worker was lost", 137, "here")
    assert str(loss) == "Task failure due to loss of a worker of executor here: its worker was lost"
    assert lost("r", 0).label == ""


@pytest.mark.parametrize(
    "error", [made for _, failure, lost in ENGINES for made in (failure("too large", 3), lost("gone", 137, "here"))]
)
def test_they_survive_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy), copy.args) == (str(error), vars(error), error.args)
