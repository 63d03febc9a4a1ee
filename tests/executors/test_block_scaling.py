from __future__ import annotations

import os
import threading
from queue import SimpleQueue

import pytest

from parsl.executors import block_scaling
from parsl.executors.errors import ScalingFailed
from parsl.jobs.states import JobState, JobStatus
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
    assert [status.state for status in executor.status().values()][-2:] == [JobState.MISSING] * 2
    assert "the queue is full" in executor.status()["6"].message


def test_scripts_lie_in_the_run_folder_unless_the_user_says_otherwise(executor, provider, tmp_path):
    executor.scale_out_facade(1)
    assert provider.script_dir == str(tmp_path / "submit_scripts")
    assert os.path.isdir(provider.script_dir)
    provider.script_dir = str(tmp_path / "mine")
    executor.scale_out_facade(1)
    assert provider.script_dir == str(tmp_path / "mine")
    assert os.path.isdir(provider.script_dir)


def test_a_block_that_cannot_be_submitted_is_missing_for_a_reason(executor, provider):
    provider.trouble["submit"] = RuntimeError("no such queue")
    assert executor.scale_out_facade(1) == ["0"]
    status = executor.status()["0"]
    assert (status.state, status.terminal) == (JobState.MISSING, True)
    assert "no such queue" in status.message
    assert executor.blocks_to_job_id == {}
    provider.trouble.clear()
    assert executor.scale_out_facade(1) == ["1"]
    executor.poll_facade()
    assert executor.states() == {"0": JobState.MISSING, "1": JobState.PENDING}


def test_where_blocks_are_not_heard_of_one_that_cannot_be_submitted_has_failed(executor, provider):
    provider.trouble["submit"] = RuntimeError("no such queue")
    executor.connected = ["0"]
    executor.scale_out_facade(1)
    assert executor.states() == {"0": JobState.FAILED}


@pytest.mark.parametrize("nothing", ["", None])
def test_a_provider_that_returns_no_job_id(executor, provider, monkeypatch, nothing):
    monkeypatch.setattr(provider, "submit", lambda *a: nothing)
    executor.scale_out_facade(1)
    assert executor.states() == {"0": JobState.MISSING}
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
    assert [b for b, s in executor.states().items() if s == JobState.MISSING] == failed
    jobs = {b: f"job-{int(b) + 1}" for b in ("0", "1", "2", "3") if b not in failed}
    assert executor.blocks_to_job_id == jobs


def test_several_blocks_that_cannot_be_submitted(executor, provider):
    def submit_many(commands, tasks_per_node, names):
        raise RuntimeError("no such queue")

    provider.blocks_per_submission = 5
    provider.submit_many = submit_many
    executor.scale_out_facade(2)
    assert executor.states() == {"0": JobState.MISSING, "1": JobState.MISSING}


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


def test_blocks_are_empty_before_they_are_cancelled(executor, provider):
    executor.scale_out_facade(2)
    executor.busy = {"1"}
    executor.idle = {"0": 50.0, "1": 60.0}
    executor.blocks_changed = [].append
    assert executor.scale_in_facade(2, 10.0) == ["1", "0"]
    assert executor.drained == ["1", "0"]
    assert provider.cancelled == ["job-1"]
    assert executor.states() == {"0": JobState.SCALED_IN, "1": JobState.PENDING}
    assert executor.block_census() == (0, 1)
    assert executor.scale_in_facade(1, 10.0) == [], "it is on its way out already"
    executor._on_emptied("1")
    assert executor.give_back_emptied() == ["1"]
    assert provider.cancelled == ["job-1", "job-2"]


def test_a_user_waits_for_blocks_that_are_about_to_be_empty(executor, provider):
    """What users of `scale_in(1)` rely on: afterwards the block is cancelled."""
    executor.scale_out_facade(1)
    executor.busy = {"0"}
    woken = []
    executor.blocks_changed = woken.append
    started = executor._start_drain

    def start(block_id):
        started(block_id)
        threading.Thread(target=executor._on_emptied, args=(block_id,)).start()

    executor._start_drain = start
    assert executor.scale_in(1) == ["0"]
    assert provider.cancelled == ["job-1"]
    assert woken == [], "and nobody else does it"


def test_two_who_give_back_at_once_do_not_take_the_same_blocks(executor, provider, monkeypatch):
    executor.scale_out_facade(2)
    real, nested = executor._choose, []

    def choose(*args):
        monkeypatch.setattr(executor, "_choose", real)
        chosen = real(*args)
        nested.extend(executor.scale_in(1))
        return chosen

    monkeypatch.setattr(executor, "_choose", choose)
    assert executor.scale_in(2) == ["0"]
    assert nested == ["1"]
    assert sorted(provider.cancelled) == ["job-1", "job-2"]


def test_a_user_does_not_wait_for_tasks(executor, provider, monkeypatch):
    monkeypatch.setattr(block_scaling, "EMPTY_SECONDS", 0.01)
    woken = SimpleQueue()
    executor.blocks_changed = woken.put
    executor.scale_out_facade(1)
    executor.busy = {"0"}
    assert executor.scale_in(1) == ["0"]
    assert (provider.cancelled, executor.states()) == ([], {"0": JobState.PENDING})
    executor._on_emptied("0")
    assert woken.get(timeout=SECONDS) is False
    executor._on_emptied("0")
    executor._on_emptied("no such block")
    assert woken.empty(), "told once"


def test_without_a_keeper_a_block_is_given_back_nevertheless(executor, provider, monkeypatch):
    monkeypatch.setattr(block_scaling, "EMPTY_SECONDS", 0)
    executor.scale_out_facade(1)
    executor.busy = {"0"}
    executor.scale_in(1)
    executor._on_emptied("0")
    provider.wait_for(lambda: provider.cancelled == ["job-1"])


def test_a_block_that_was_not_asked_to_leave_cannot_be_empty(executor, provider):
    executor.scale_out_facade(1)
    executor._on_emptied("0")
    assert executor.give_back_emptied() == []
    assert executor.block_census() == (1, 0)


def test_an_empty_block_that_could_not_be_cancelled_is_tried_again(executor, provider):
    executor.scale_out_facade(1)
    provider.refusing.add("job-1")
    assert executor.scale_in(1) == []
    assert executor.block_census() == (0, 1), "it takes no tasks any more"
    assert executor.give_back_emptied() == []
    provider.refusing.clear()
    assert executor.give_back_emptied() == ["0"]


def test_an_empty_block_that_ends_by_itself_has_been_scaled_in(executor, provider):
    executor.scale_out_facade(1)
    provider.refusing.add("job-1")
    executor.scale_in(1)
    provider.states["job-1"] = JobStatus(JobState.COMPLETED, exit_code=0)
    executor.poll_facade()
    assert executor.states() == {"0": JobState.SCALED_IN}
    assert not executor.backoff.failures


def test_a_block_that_is_overdue_is_not_waited_for(executor, provider):
    executor.scale_out_facade(1)
    executor.busy, executor.idle = {"0"}, {"0": 99.0}
    executor.scale_in(1, 10.0)
    executor.overdue = {"0"}
    assert executor.give_back_emptied() == ["0"]


# -- failing submissions -----------------------------------------------------------------------------------------------


def test_the_batch_systems_words_and_the_pause_are_in_the_log(executor, provider, caplog):
    provider.trouble["submit"] = RuntimeError("sbatch: error: QOSMaxSubmitJobPerUserLimit")
    for pause in (1, 2, 4):
        caplog.clear()
        executor.clock.now = max(executor.clock.now, executor.backoff.until)
        executor.scale_out_facade(1)
        assert "sbatch: error: QOSMaxSubmitJobPerUserLimit" in caplog.text
        assert f"The next try is in {pause} s at the earliest" in caplog.text
    assert "QOSMaxSubmitJobPerUserLimit" in executor.status()["2"].message


def test_a_submission_that_is_interrupted_leaves_no_block_on_its_way(executor, provider):
    provider.trouble["submit"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        executor.scale_out_facade(1)
    assert executor.states() == {"0": JobState.MISSING}
    assert "interrupted" in executor.status()["0"].message


# -- the end -----------------------------------------------------------------------------------------------------------


def test_at_the_end_everything_is_cancelled_whatever_it_does(executor, provider):
    executor.scale_out_facade(3)
    executor.busy = {"0", "1", "2"}
    executor.idle = dict.fromkeys("012", 99.0)
    executor.scale_in(1, 10.0)
    executor.monitoring_messages = messages = SimpleQueue()
    executor.cancel_all_blocks()
    assert provider.cancelled == ["job-1", "job-2", "job-3"]
    assert set(executor.states().values()) == {JobState.SCALED_IN}
    assert sorted(messages.get_nowait()["block_id"] for _ in range(3)) == ["0", "1", "2"]
    with pytest.raises(ScalingFailed, match="shut down"):
        executor.scale_out_facade(1)


def test_what_is_being_submitted_at_the_end_is_cancelled_when_it_has_been(executor, provider, monkeypatch):
    submitting, go_on = threading.Event(), threading.Event()
    real = provider.submit

    def slow(*args):
        submitting.set()
        assert go_on.wait(SECONDS)
        return real(*args)

    monkeypatch.setattr(provider, "submit", slow)
    thread = threading.Thread(target=executor.scale_out_facade, args=(2,))
    thread.start()
    assert submitting.wait(SECONDS)
    end = threading.Thread(target=executor.cancel_all_blocks)
    end.start()
    with executor._blocks_news:
        assert executor._blocks_news.wait_for(lambda: executor._closing, SECONDS)
    go_on.set()
    thread.join(SECONDS)
    end.join(SECONDS)
    assert provider.cancelled == ["job-1"]
    assert len(provider.submitted) == 1, "the second is not even asked for"
    assert executor.states() == {"0": JobState.SCALED_IN, "1": JobState.CANCELLED}


@pytest.mark.parametrize("how", ["raises", "refuses"])
def test_a_provider_that_does_not_cancel_at_the_end_is_asked_again(executor, provider, monkeypatch, how, caplog):
    monkeypatch.setattr(block_scaling, "_RETRIES", (0.0, 0.0))
    executor.scale_out_facade(1)
    answers = iter([RuntimeError("away"), [False], [True]] if how == "raises" else [[False], [False], [True]])
    asked = []

    def cancel(jobs):
        asked.append(jobs)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(provider, "cancel", cancel)
    executor.cancel_all_blocks()
    assert asked == [["job-1"]] * 3
    assert executor.states() == {"0": JobState.SCALED_IN}
    assert "could not be cancelled" not in caplog.text


def test_what_cannot_be_cancelled_at_the_end_is_named(executor, provider, monkeypatch, caplog):
    monkeypatch.setattr(block_scaling, "_RETRIES", (0.0,))
    executor.scale_out_facade(2)
    provider.refusing.add("job-2")
    executor.cancel_all_blocks()
    assert "Jobs of executor fake could not be cancelled: job-2. Cancel them yourself" in caplog.text
    assert executor.states() == {"0": JobState.SCALED_IN, "1": JobState.PENDING}


def test_a_provider_that_hangs_in_cancelling_is_not_waited_for(executor, provider, monkeypatch, caplog):
    go_on = threading.Event()
    executor.scale_out_facade(1)
    monkeypatch.setattr(provider, "cancel", lambda jobs: [go_on.wait(SECONDS)])
    executor.cancel_all_blocks(0.01)
    assert "did not cancel within 0.01 s; look yourself for jobs job-1" in caplog.text
    go_on.set()


def test_a_new_run_begins_anew(executor, provider):
    provider.trouble["submit"] = RuntimeError("full")
    executor.scale_out_facade(1)
    executor.cancel_all_blocks()
    executor._begin_blocks()
    assert executor.status() == {}
    assert not executor.backoff.failures
    provider.trouble.clear()
    assert executor.scale_out_facade(1) == ["1"]


def test_a_job_of_an_earlier_run_that_comes_late_is_cancelled(executor, provider, monkeypatch):
    real = provider.submit

    def late(*args):
        executor._begin_blocks()
        return real(*args)

    monkeypatch.setattr(provider, "submit", late)
    executor.scale_out_facade(1)
    assert provider.cancelled == ["job-1"]
    assert executor.status() == {}
