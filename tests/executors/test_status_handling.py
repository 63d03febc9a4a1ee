from __future__ import annotations

import datetime
from queue import SimpleQueue

import pytest

from parsl.executors.errors import BadStateException
from parsl.jobs.error_handlers import noop_error_handler, simple_error_handler
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from tests.jobs.fakes import Clock, FakeExecutor, FakeProvider

SECONDS = 20


@pytest.fixture
def provider():
    return FakeProvider()


@pytest.fixture
def executor(provider, tmp_path):
    executor = FakeExecutor(provider, run_dir=str(tmp_path))
    executor.clock = Clock()
    return executor


# -- polling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("connected", [True, False])
def test_a_block_that_ended_unheard_of_is_missing(executor, provider, state, connected):
    executor.scale_out_facade(1)
    if connected:
        executor.connected.add("0")
    provider.states["job-1"] = JobStatus(state, exit_code=0, stdout_path="/out", stderr_path="/err")
    executor.poll_facade()
    status = executor.status()["0"]
    missing = state in TERMINAL_STATES and not connected
    assert status.state == (JobState.MISSING if missing else state)
    assert (status.exit_code, status.stdout_path, status.stderr_path) == (0, "/out", "/err")
    assert not missing or "before its workers connected" in status.message


def test_the_providers_own_words_are_kept(executor, provider):
    executor.scale_out_facade(1)
    provider.states["job-1"] = JobStatus(JobState.FAILED, "killed by the administrator")
    executor.poll_facade()
    assert executor.status()["0"].message == "killed by the administrator"


def test_blocks_that_have_ended_are_not_asked_for_again(executor, provider, monkeypatch):
    asked = []
    monkeypatch.setattr(provider, "status", lambda jobs: asked.append(jobs) or [provider.states[j] for j in jobs])
    executor.scale_out_facade(2)
    executor.connected |= {"0", "1"}
    provider.states["job-1"] = JobStatus(JobState.COMPLETED)
    executor.poll_facade()
    provider.states["job-1"] = JobStatus(JobState.RUNNING)
    provider.states["job-2"] = JobStatus(JobState.FAILED)
    executor.poll_facade()
    executor.poll_facade()
    assert asked == [["job-1", "job-2"], ["job-2"]]
    assert executor.states() == {"0": JobState.COMPLETED, "1": JobState.FAILED}


def test_a_provider_that_cannot_be_asked(executor, provider):
    executor.scale_out_facade(1)
    provider.trouble["status"] = RuntimeError("away")
    with pytest.raises(RuntimeError, match="away"):
        executor.poll_facade()
    assert executor.states() == {"0": JobState.PENDING}


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_handlers():
    assert FakeExecutor(None, handler=True).block_error_handler is simple_error_handler
    assert FakeExecutor(None, handler=False).block_error_handler is noop_error_handler
    seen = []
    executor = FakeExecutor(None, handler=lambda *args: seen.append(args))
    executor.handle_errors({"0": "status"})
    assert seen == [(executor, {"0": "status"})]


def test_the_handler_is_asked_after_each_poll_until_it_gives_up(provider, tmp_path):
    judged = []

    def handler(executor, status):
        judged.append({b: s.state for b, s in status.items()})
        if len(judged) == 2:
            executor.set_bad_state_and_fail_all(RuntimeError("enough"))

    executor = FakeExecutor(provider, handler=handler, run_dir=str(tmp_path))
    executor.scale_out_facade(1)
    for _ in range(4):
        executor.poll_facade()
    assert judged == [{"0": JobState.PENDING}] * 2


def test_the_first_bad_state_stays(executor):
    assert not executor.bad_state_is_set
    assert executor.executor_exception is None
    reason = RuntimeError("why")
    executor.set_bad_state_and_fail_all(reason)
    executor.set_bad_state_and_fail_all(RuntimeError("later"))
    assert executor.bad_state_is_set
    assert executor.executor_exception is reason
    (failure,) = executor.failures
    assert type(failure) is BadStateException
    assert failure.exception is reason
    assert "why" in str(failure)
    assert "fake" in str(failure)


# -- monitoring --------------------------------------------------------------------------------------------------------


def test_monitoring_is_told_of_blocks(executor):
    executor.run_id = "run"
    executor.scale_out_facade(1)
    status = {"0": JobStatus(JobState.RUNNING), "7": JobStatus(JobState.FAILED)}
    executor.send_monitoring_info(status)
    executor.monitoring_messages = messages = SimpleQueue()
    executor.send_monitoring_info(status)
    found = [messages.get_nowait(), messages.get_nowait()]
    assert messages.empty()
    for message in found:
        assert isinstance(message.pop("timestamp"), datetime.datetime)
    assert found == [
        {"run_id": "run", "executor_label": "fake", "job_id": "job-1", "block_id": "0", "status": "RUNNING"},
        {"run_id": "run", "executor_label": "fake", "job_id": None, "block_id": "7", "status": "FAILED"},
    ]


# -- room --------------------------------------------------------------------------------------------------------------


def test_room_counts_blocks_that_are_on_their_way(executor, provider):
    executor.workers, executor.task_count = 3, 5
    # None has been asked for: the first task makes one.
    assert executor.room() == (5, 0, 3 * provider.nodes_per_block)
    executor.scale_out_facade(2)
    assert executor.room() == (5, 0, 6 * provider.nodes_per_block)
    executor.set_bad_state_and_fail_all(RuntimeError("no block starts"))
    assert executor.room() == (5, 0, 0)


def test_room_without_a_provider(tmp_path):
    executor = FakeExecutor(None, run_dir=str(tmp_path))
    assert executor.room() == (0, 0, 1)
