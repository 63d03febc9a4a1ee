from __future__ import annotations

import datetime
import os
import threading
from queue import SimpleQueue

import pytest

from parsl.executors.errors import BadStateException, ScalingFailed
from parsl.jobs.error_handlers import noop_error_handler, simple_error_handler
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from tests.jobs.fakes import FakeExecutor, FakeProvider

SECONDS = 20


@pytest.fixture
def provider():
    return FakeProvider()


@pytest.fixture
def executor(provider, tmp_path):
    return FakeExecutor(provider, run_dir=str(tmp_path))


# -- asking for blocks -------------------------------------------------------------------------------------------------


def test_blocks_are_numbered_in_order_and_known_at_once(executor, provider):
    assert executor.scale_out_facade(2) == ["0", "1"]
    assert executor.scale_out_facade(1) == ["2"]
    assert executor.scale_out_facade(0) == []
    assert executor.states() == dict.fromkeys(["0", "1", "2"], JobState.PENDING)
    assert provider.submitted == [(f"run {n}", 1, f"parsl.fake.block-{n}") for n in range(3)]
    assert executor.blocks_to_job_id == {"0": "job-1", "1": "job-2", "2": "job-3"}
    assert executor.blocks == executor.blocks_to_job_id
    assert executor.job_ids_to_block == {"job-1": "0", "job-2": "1", "job-3": "2"}
    assert executor.status() == executor.status_facade


def test_blocks_are_asked_for_together_where_the_provider_can(executor, provider):
    asked = []

    def submit_many(commands, tasks_per_node, job_names):
        if len(asked) == 2:
            raise OSError("the queue is full")
        asked.append((commands, job_names))
        return [f"array-{len(asked)}_{n}" for n in range(len(commands))]

    provider.blocks_per_submission, provider.submit_many = 2, submit_many
    assert executor.scale_out_facade(5) == ["0", "1", "2", "3", "4"]
    assert asked[0] == (["run 0", "run 1"], ["parsl.fake.block-0", "parsl.fake.block-1"])
    assert executor.blocks_to_job_id == {str(n): f"array-{n // 2 + 1}_{n % 2}" for n in range(4)} | {"4": "job-1"}
    executor.scale_out_facade(2)
    assert [status.state for status in executor.status().values()][-2:] == [JobState.FAILED] * 2
    assert "the queue is full" in executor.status()["6"].message


def test_scripts_lie_in_the_run_folder_unless_the_user_says_otherwise(executor, provider, tmp_path):
    executor.scale_out_facade(1)
    assert provider.script_dir == str(tmp_path / "submit_scripts")
    assert os.path.isdir(provider.script_dir)
    provider.script_dir = str(tmp_path / "mine")
    executor.scale_out_facade(1)
    assert provider.script_dir == str(tmp_path / "mine")
    assert os.path.isdir(provider.script_dir)


def test_a_block_that_cannot_be_submitted_has_failed_with_the_reason(executor, provider):
    provider.trouble["submit"] = RuntimeError("no such queue")
    assert executor.scale_out_facade(1) == ["0"]
    status = executor.status()["0"]
    assert (status.state, status.terminal) == (JobState.FAILED, True)
    assert "no such queue" in status.message
    assert executor.blocks_to_job_id == {}
    provider.trouble.clear()
    assert executor.scale_out_facade(1) == ["1"]
    executor.poll_facade()
    assert executor.states() == {"0": JobState.FAILED, "1": JobState.PENDING}


@pytest.mark.parametrize("nothing", ["", None])
def test_a_provider_that_returns_no_job_id(executor, provider, monkeypatch, nothing):
    monkeypatch.setattr(provider, "submit", lambda *a: nothing)
    executor.scale_out_facade(1)
    assert executor.states() == {"0": JobState.FAILED}
    assert "no job id" in executor.status()["0"].message


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (lambda jobs: jobs, []),
        (lambda jobs: [jobs[0], "", *jobs[2:]], ["1"]),
        (lambda jobs: jobs[:2], ["2"]),
        (lambda jobs: [*jobs, "one too many"], []),
    ],
)
def test_several_blocks_at_once_where_the_provider_can_do_that(executor, provider, answer, failed):
    def submit_many(commands, tasks_per_node, names):
        return answer([provider.submit(c, tasks_per_node, n) for c, n in zip(commands, names, strict=True)])

    provider.blocks_per_submission = 3
    provider.submit_many = submit_many
    assert executor.scale_out_facade(4) == ["0", "1", "2", "3"]
    assert [name for _, _, name in provider.submitted] == [f"parsl.fake.block-{n}" for n in range(4)]
    assert [b for b, s in executor.states().items() if s == JobState.FAILED] == failed
    jobs = {b: f"job-{int(b) + 1}" for b in ("0", "1", "2", "3") if b not in failed}
    assert executor.blocks_to_job_id == jobs


def test_several_blocks_that_cannot_be_submitted(executor, provider):
    def submit_many(commands, tasks_per_node, names):
        raise RuntimeError("no such queue")

    provider.blocks_per_submission = 5
    provider.submit_many = submit_many
    executor.scale_out_facade(2)
    assert executor.states() == {"0": JobState.FAILED, "1": JobState.FAILED}


def test_blocks_need_a_provider():
    executor = FakeExecutor(None)
    with pytest.raises(ScalingFailed, match="no execution provider"):
        executor.scale_out_facade(1)
    assert executor.scale_in_facade(1) == []
    assert executor.status_polling_interval == 0
    executor.poll_facade()


def test_blocks_asked_for_by_several_threads_have_their_own_numbers(executor, provider):
    threads = [threading.Thread(target=executor.scale_out_facade, args=(5,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(executor.status(), key=int) == [str(n) for n in range(20)]
    assert {name for _, _, name in provider.submitted} == {f"parsl.fake.block-{n}" for n in range(20)}


# -- giving blocks back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "given_back"), [(0, []), (1, ["3"]), (2, ["1", "3"]), (9, ["0", "1", "3"])])
def test_the_newest_live_blocks_are_given_back(executor, provider, number, given_back):
    executor.scale_out_facade(4)
    executor._blocks["2"].status = JobStatus(JobState.COMPLETED)
    assert executor.scale_in_facade(number) == given_back
    assert provider.cancelled == [f"job-{int(b) + 1}" for b in given_back]
    assert [b for b, s in executor.states().items() if s == JobState.SCALED_IN] == given_back
    assert executor.states()["2"] == JobState.COMPLETED


def test_what_is_given_back_stays_so(executor, provider):
    executor.scale_out_facade(1)
    executor.scale_in_facade(1)
    provider.states["job-1"] = JobStatus(JobState.CANCELLED)
    executor.poll_facade()
    assert executor.states() == {"0": JobState.SCALED_IN}
    assert executor.scale_in_facade(1) == []
    assert executor.cancel_blocks(["0"]) == []
    assert provider.cancelled == ["job-1"]


def test_a_block_that_the_provider_does_not_cancel_is_as_it_was(executor, provider):
    executor.scale_out_facade(2)
    executor._blocks["1"].status = running = JobStatus(JobState.RUNNING)
    provider.refusing.add("job-2")
    assert executor.scale_in_facade(2) == ["0"]
    assert executor.status()["1"] is running


def test_a_provider_that_raises_while_cancelling(executor, provider):
    executor.scale_out_facade(2)
    provider.trouble["cancel"] = RuntimeError("away")
    with pytest.raises(RuntimeError, match="away"):
        executor.scale_in_facade(2)
    assert executor.states() == {"0": JobState.PENDING, "1": JobState.PENDING}


def test_a_provider_that_answers_for_too_few(executor, provider, monkeypatch):
    executor.scale_out_facade(2)
    monkeypatch.setattr(provider, "cancel", lambda jobs: [True])
    assert executor.scale_in_facade(2) == ["0"]
    monkeypatch.setattr(provider, "status", lambda jobs: [])
    executor.poll_facade()
    assert executor.states() == {"0": JobState.SCALED_IN, "1": JobState.PENDING}


def test_a_poll_while_a_block_is_given_back_sees_no_failure(provider, tmp_path):
    """The job has ended and the provider's cancel has not returned: that is no block that went missing."""
    executor = FakeExecutor(provider, handler=True, run_dir=str(tmp_path))
    executor.scale_out_facade(1)
    cancelling, go_on = threading.Event(), threading.Event()

    def slow(jobs):
        provider.states["job-1"] = JobStatus(JobState.CANCELLED)
        cancelling.set()
        assert go_on.wait(SECONDS)
        return [True]

    provider.cancel = slow
    thread = threading.Thread(target=executor.scale_in_facade, args=(1,))
    thread.start()
    assert cancelling.wait(SECONDS)
    executor.poll_facade()
    go_on.set()
    thread.join(SECONDS)
    assert not executor.bad_state_is_set
    assert executor.states() == {"0": JobState.SCALED_IN}


def test_an_answer_that_was_on_its_way_does_not_bring_a_block_back(executor, provider):
    executor.scale_out_facade(1)
    provider.states["job-1"] = JobStatus(JobState.RUNNING)
    provider.answering.clear()
    thread = threading.Thread(target=executor.poll_facade)
    thread.start()
    assert provider.asked.wait(SECONDS)
    assert executor.scale_in_facade(1) == ["0"]
    provider.answering.set()
    thread.join(SECONDS)
    assert executor.states() == {"0": JobState.SCALED_IN}


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
