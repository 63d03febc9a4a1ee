from __future__ import annotations

from parsl.app.errors import AppTimeout
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.executors.high_throughput.losses import loss_error
from parsl.executors.high_throughput.messages import MANAGER_LOST, TIMED_OUT, WORKER_LOST, Loss, lost


def test_a_lost_worker():
    error = loss_error(lost(5, WORKER_LOST, Loss("3", "node7", "signal SIGKILL", "host node7, worker 3")), task=12)
    assert type(error) is WorkerLost
    assert (error.worker_id, error.hostname, error.cause) == (3, "node7", "signal SIGKILL")
    assert "(signal SIGKILL)" in str(error)
    assert error.__notes__ == ["in task 12 on host node7, worker 3"]


def test_a_lost_manager():
    error = loss_error(lost(5, MANAGER_LOST, Loss("abc", "node7", "not heard of for 120 s")), task=12)
    assert type(error) is ManagerLost
    assert (error.manager_id, error.hostname) == ("abc", "node7")
    assert "not heard of for 120 s" in str(error)
    assert error.__notes__ == ["in task 12"]


def test_a_worker_that_was_ended_since_its_task_took_too_long():
    loss = Loss(
        "3", "node7", "app did not end within its walltime of 2 s", "host node7", '  File "app.py", line 1 in app'
    )
    error = loss_error(lost(5, TIMED_OUT, loss), task=12)
    assert type(error) is AppTimeout
    assert str(error) == "app did not end within its walltime of 2 s"
    assert error.__notes__ == [
        "in task 12 on host node7",
        'it was here, innermost call first:\n  File "app.py", line 1 in app',
    ]
