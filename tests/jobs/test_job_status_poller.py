from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from parsl.executors.threads import ThreadPoolExecutor
from parsl.jobs import job_status_poller as poller_module
from parsl.jobs.job_status_poller import JobStatusPoller
from parsl.jobs.states import JobState, JobStatus
from tests.jobs.fakes import FakeExecutor, FakeProvider

SECONDS = 20


@pytest.fixture
def make(tmp_path):
    """Make a poller of an executor; it looks by itself only after an hour."""
    pollers = []

    def make(executor=None, strategy="simple", **provider):
        executor = executor or FakeExecutor(FakeProvider(**provider), run_dir=str(tmp_path))
        poller = JobStatusPoller(strategy=strategy, max_idletime=100, strategy_period=3600)
        pollers.append(poller)
        poller.add_executors([executor])
        return poller, executor

    yield make
    for poller in pollers:
        poller.close()


@pytest.fixture(autouse=True)
def rarely(monkeypatch):
    """Nothing is looked at unless the poller is woken."""
    monkeypatch.setattr(poller_module, "_FIRST_LOOK", 3600)


def looks(executor, poller, times=1):
    """Have the poller look so many times, and wait for each."""
    for _ in range(times):
        before = executor.provider.asks
        poller.wake()
        executor.provider.wait_for(lambda before=before: executor.provider.asks > before)


# -- first blocks and demand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["simple", "htex_auto_scale", "none", None])
def test_the_first_blocks_are_asked_for_at_once(make, strategy):
    _, executor = make(strategy=strategy, init_blocks=2)
    assert len(executor.provider.submitted) == 2


def test_executors_without_blocks_are_none_of_its_business():
    poller = JobStatusPoller(strategy="simple", max_idletime=1)
    poller.add_executors([ThreadPoolExecutor(), FakeExecutor(None)])
    assert poller._thread is None
    poller.close()


def test_demand_brings_blocks_without_waiting_for_the_period(make):
    _, executor = make(init_blocks=1, max_blocks=5)
    executor.task_count = 3
    executor.demand_changed()
    executor.provider.wait_for(lambda: len(executor.provider.submitted) == 3)


@pytest.mark.parametrize("strategy", ["none", None])
def test_without_a_strategy_demand_is_nobodys_business(make, strategy):
    _, executor = make(strategy=strategy)
    assert executor.demand_changed is None


@pytest.mark.parametrize(
    ("tasks", "numbers"),
    [
        (1, {}),
        (0, {"init_blocks": 0}),
        (1000, {"max_blocks": 1}),
        (1000, {"parallelism": 0.0}),
        (9, {"parallelism": 0.1}),
    ],
)
def test_a_submit_that_asks_for_no_more_blocks_wakes_nobody(make, tasks, numbers):
    poller, executor = make(**numbers)
    executor.task_count = tasks
    for _ in range(100):
        executor.demand_changed()
    assert not poller._woken
    assert executor.provider.asks == 0


def test_one_task_is_one_block_however_late_the_provider_answers(make):
    poller, executor = make(init_blocks=0)
    executor.task_count = 1
    executor.provider.answering.clear()
    for _ in range(50):
        executor.demand_changed()
    executor.provider.wait_for(lambda: executor.provider.submitted)
    poller.wake()
    assert executor.provider.asked.wait(SECONDS)
    for _ in range(50):
        executor.demand_changed()
    executor.provider.answering.set()
    looks(executor, poller, 3)
    assert len(executor.provider.submitted) == 1


def test_one_task_is_one_block_while_the_submit_takes_its_time(make):
    poller, executor = make(init_blocks=0)
    provider, real = executor.provider, executor.provider.submit
    submitting, go_on = threading.Event(), threading.Event()

    def slow(*args):
        submitting.set()
        assert go_on.wait(SECONDS)
        return real(*args)

    provider.submit = slow
    executor.task_count = 1
    executor.demand_changed()
    assert submitting.wait(SECONDS)
    for _ in range(50):
        executor.demand_changed()
    go_on.set()
    provider.wait_for(lambda: provider.submitted)
    looks(executor, poller, 3)
    assert len(provider.submitted) == 1


# -- states ------------------------------------------------------------------------------------------------------------


def test_states_are_taken_over(make):
    poller, executor = make(init_blocks=2)
    executor.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    looks(executor, poller)
    looks(executor, poller)
    assert executor.states() == {"0": JobState.RUNNING, "1": JobState.PENDING}


def test_a_provider_that_cannot_be_asked_is_asked_again(make, caplog):
    poller, executor = make()
    executor.provider.trouble["status"] = RuntimeError("the scheduler is away")
    executor.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    looks(executor, poller, 2)
    assert executor.states() == {"0": JobState.PENDING}
    assert "Looking after the blocks of executor fake failed" in caplog.text
    assert "the scheduler is away" in caplog.text
    executor.provider.trouble.clear()
    looks(executor, poller, 2)
    assert executor.states() == {"0": JobState.RUNNING}


def test_trouble_of_one_executor_is_not_that_of_another(make, tmp_path):
    poller, bad = make()
    good = FakeExecutor(FakeProvider(), label="good", run_dir=str(tmp_path))
    poller.add_executors([good])
    bad.provider.trouble["status"] = RuntimeError("away")
    good.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    looks(good, poller, 2)
    assert good.states() == {"0": JobState.RUNNING}


def test_a_block_that_cannot_be_submitted_is_a_failed_one(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), handler=True, run_dir=str(tmp_path))
    executor.provider.trouble["submit"] = RuntimeError("no such queue")
    failed = SimpleQueue()
    executor._fail_all = failed.put
    poller, _ = make(executor)
    poller.wake()
    exception = failed.get(timeout=SECONDS)
    assert "no such queue" in str(exception)
    assert executor.bad_state_is_set


def test_blocks_that_fail_end_the_executor(make, tmp_path):
    executor = FakeExecutor(FakeProvider(init_blocks=2), handler=True, run_dir=str(tmp_path))
    failed = SimpleQueue()
    executor._fail_all = failed.put
    poller, _ = make(executor)
    executor.provider.states["job-1"] = JobStatus(JobState.FAILED, exit_code=3)
    looks(executor, poller)
    executor.provider.states["job-2"] = JobStatus(JobState.COMPLETED, exit_code=0)
    looks(executor, poller)
    text = str(failed.get(timeout=SECONDS))
    assert "EXIT CODE: 3" in text
    assert "EXIT CODE: 0" in text
    looks_before = len(executor.provider.submitted)
    executor.task_count = 5
    poller.wake()
    poller.close()
    assert len(executor.provider.submitted) == looks_before, "a bad executor gets no more blocks"


def test_changes_are_told_to_monitoring(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), run_dir=str(tmp_path))
    executor.monitoring_messages = messages = SimpleQueue()
    poller, _ = make(executor)
    executor.connected.add("0")
    executor.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    poller.wake()
    first = messages.get(timeout=SECONDS)
    assert (first["block_id"], first["job_id"], first["status"]) == ("0", "job-1", "RUNNING")
    looks(executor, poller, 2)
    executor.provider.states["job-1"] = JobStatus(JobState.COMPLETED)
    poller.wake()
    assert messages.get(timeout=SECONDS)["status"] == "COMPLETED"
    assert messages.empty()


# -- how often, and the end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "period", "interval", "expected"),
    [
        ("none", 5, 60, [0.375, 0.5625, 0.84375, 60]),
        ("simple", 5, 60, [0.375, 0.5625, 0.84375, 5]),
        ("simple", 0.1, 60, [0.1, 0.1, 0.1, 0.1]),
        ("none", 5, 0.3, [0.3, 0.3, 0.3, 0.3]),
    ],
)
def test_looks_become_rare(monkeypatch, tmp_path, strategy, period, interval, expected):
    monkeypatch.setattr(poller_module, "_FIRST_LOOK", 0.25)
    poller = JobStatusPoller(strategy=strategy, max_idletime=100, strategy_period=period)
    poller._executors = [FakeExecutor(FakeProvider(interval=interval), run_dir=str(tmp_path))]
    found = [poller._interval() for _ in range(30)]
    assert [*found[:3], found[-1]] == expected
    poller._executors[0].scale_out_facade(1)
    poller._strategy.add_executors(poller._executors)
    poller._executors[0]._blocks["0"].status = JobStatus(JobState.UNKNOWN)
    poller.poll()
    assert poller._interval() == expected[0], "after a change it looks soon again"


def test_it_looks_by_itself(monkeypatch, make):
    monkeypatch.setattr(poller_module, "_FIRST_LOOK", 0.001)
    _, executor = make(interval=0.001)
    executor.provider.wait_for(lambda: executor.provider.asks > 5)


def test_closing_ends_the_thread_and_can_be_done_twice(make):
    poller, _ = make()
    thread = poller._thread
    assert thread.is_alive()
    poller.close()
    poller.close()
    assert not thread.is_alive()


def test_closing_waits_no_longer_than_it_is_told(make):
    poller, executor = make()
    executor.provider.answering.clear()
    poller.wake()
    assert executor.provider.asked.wait(SECONDS)
    poller.close(timeout=0.01)
    assert poller._thread.is_alive()
    executor.provider.answering.set()
    poller.close()
    assert not poller._thread.is_alive()


def test_it_may_be_closed_by_what_it_calls(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), run_dir=str(tmp_path))
    executor.block_error_handler = lambda *_: poller.close()
    poller, _ = make(executor)
    poller.wake()
    poller._thread.join(SECONDS)
    assert not poller._thread.is_alive()
