from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from parsl.jobs import block_keeper
from parsl.jobs.block_keeper import BlockKeeper, Rhythm
from parsl.jobs.states import JobState, JobStatus
from parsl.jobs.strategy import Strategy
from tests.jobs.fakes import FakeExecutor, FakeProvider

SECONDS = 20


@pytest.fixture(autouse=True)
def rarely(monkeypatch):
    """The provider is asked when the keeper is woken for that, and by itself only after an hour."""
    monkeypatch.setattr(block_keeper, "FIRST_LOOK", 3600)


@pytest.fixture
def make(tmp_path):
    """Make a keeper of an executor, after its first look."""
    keepers = []

    def make(executor=None, strategy="simple", period=3600, **provider):
        executor = executor or FakeExecutor(FakeProvider(**provider), run_dir=str(tmp_path))
        common = Strategy(strategy=strategy, max_idletime=100)
        common.add_executors([executor])
        keeper = BlockKeeper(executor, lambda: common, period)
        keepers.append(keeper)
        keeper.start()
        assert keeper.begun.wait(SECONDS)
        return keeper, executor

    yield make
    for keeper in keepers:
        assert keeper.close(SECONDS)


def looks(executor, keeper, times=1):
    """Have the keeper ask the provider so many times, and wait for each."""
    for _ in range(times):
        before = executor.provider.asks
        keeper.wake()
        executor.provider.wait_for(lambda before=before: executor.provider.asks > before)


# -- first blocks and demand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["simple", "htex_auto_scale", "none", None])
def test_the_first_blocks_are_asked_for_at_once(make, strategy):
    _, executor = make(strategy=strategy, init_blocks=2)
    assert len(executor.provider.submitted) == 2


def test_demand_brings_blocks_without_asking_how_others_are(make):
    _, executor = make(init_blocks=1, max_blocks=5)
    executor.task_count = 3
    executor.demand_changed()
    executor.provider.wait_for(lambda: len(executor.provider.submitted) == 3)
    assert executor.provider.asks == 0


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
    keeper, executor = make(**numbers)
    executor.task_count = tasks
    for _ in range(100):
        executor.demand_changed()
    assert not keeper._woken


def test_one_task_is_one_block_however_late_the_provider_answers(make):
    keeper, executor = make(init_blocks=0)
    executor.task_count = 1
    executor.provider.answering.clear()
    for _ in range(50):
        executor.demand_changed()
    executor.provider.wait_for(lambda: executor.provider.submitted)
    keeper.wake()
    assert executor.provider.asked.wait(SECONDS)
    for _ in range(50):
        executor.demand_changed()
    executor.provider.answering.set()
    looks(executor, keeper, 3)
    assert len(executor.provider.submitted) == 1


def test_one_task_is_one_block_while_the_submit_takes_its_time(make):
    keeper, executor = make(init_blocks=0)
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
    assert executor.states() == {"0": JobState.PENDING}
    go_on.set()
    provider.wait_for(lambda: provider.submitted)
    looks(executor, keeper, 3)
    assert len(provider.submitted) == 1


def test_the_strategy_looks_by_itself_in_its_period(make):
    _, executor = make(init_blocks=0, period=0.01)
    executor.task_count = 1
    executor.provider.wait_for(lambda: executor.provider.submitted)


def test_after_a_failure_it_tries_again_by_itself(make, tmp_path):
    executor = FakeExecutor(FakeProvider(init_blocks=0), run_dir=str(tmp_path))
    real, tries = executor.provider.submit, []

    def often_full(*args):
        tries.append(args)
        if len(tries) < 3:
            raise RuntimeError("the queue is full")
        return real(*args)

    executor.provider.submit = often_full
    executor.backoff._first = 0.02
    make(executor)
    executor.task_count = 1
    executor.demand_changed()
    executor.provider.wait_for(lambda: executor.provider.submitted)
    assert executor.states() == {"0": JobState.MISSING, "1": JobState.MISSING, "2": JobState.PENDING}


# -- states ------------------------------------------------------------------------------------------------------------


def test_states_are_taken_over(make):
    keeper, executor = make(init_blocks=2)
    executor.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    looks(executor, keeper, 2)
    assert executor.states() == {"0": JobState.RUNNING, "1": JobState.PENDING}


def test_managers_that_connect_make_a_block_run_without_the_provider(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), run_dir=str(tmp_path))
    executor.monitoring_messages = messages = SimpleQueue()
    make(executor)
    assert messages.get(timeout=SECONDS)["status"] == "PENDING"
    executor.connected.add("0")
    executor.heard.add("0")
    executor.blocks_changed(False)
    assert messages.get(timeout=SECONDS)["status"] == "RUNNING"
    assert executor.provider.asks == 0


def test_managers_that_are_gone_make_it_ask_at_once(make):
    _, executor = make()
    executor.blocks_changed(True)
    assert executor.provider.asked.wait(SECONDS)


def test_a_provider_that_cannot_be_asked_is_asked_again_and_named_ever_more_rarely(make, caplog):
    keeper, executor = make()
    executor.provider.trouble["status"] = RuntimeError("the scheduler is away")
    executor.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    for _ in range(9):
        keeper.look(ask=True)
    assert executor.states() == {"0": JobState.PENDING}
    lines = [r.getMessage() for r in caplog.records if "Looking after" in r.getMessage()]
    assert [line.split(" times")[0][-1] for line in lines] == ["1", "2", "4", "8"]
    assert all("the scheduler is away" in line for line in lines)
    assert caplog.text.count("Traceback") == 1
    executor.provider.trouble.clear()
    looks(executor, keeper, 2)
    assert executor.states() == {"0": JobState.RUNNING}


def test_a_provider_that_cannot_be_asked_is_given_blocks_nevertheless(make):
    keeper, executor = make(init_blocks=0)
    executor.provider.trouble["status"] = RuntimeError("away")
    executor.task_count = 2
    keeper.look(ask=True)
    assert len(executor.provider.submitted) == 2


def test_a_block_that_cannot_be_submitted_is_a_failed_one(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), handler=True, run_dir=str(tmp_path))
    executor.provider.trouble["submit"] = RuntimeError("no such queue")
    failed = SimpleQueue()
    executor._fail_all = failed.put
    keeper, _ = make(executor)
    keeper.wake()
    exception = failed.get(timeout=SECONDS)
    assert "no such queue" in str(exception)
    assert executor.bad_state_is_set


def test_blocks_that_fail_end_the_executor(make, tmp_path):
    executor = FakeExecutor(FakeProvider(init_blocks=2), handler=True, run_dir=str(tmp_path))
    failed = SimpleQueue()
    executor._fail_all = failed.put
    keeper, _ = make(executor)
    (tmp_path / "stderr").write_text("no module named spam\n")
    executor.provider.states["job-1"] = JobStatus(JobState.FAILED, exit_code=3, stderr_path=str(tmp_path / "stderr"))
    looks(executor, keeper)
    executor.provider.states["job-2"] = JobStatus(JobState.COMPLETED, exit_code=0)
    looks(executor, keeper)
    text = str(failed.get(timeout=SECONDS))
    for words in ("EXIT CODE: 3", "EXIT CODE: 0", "no module named spam"):
        assert words in text
    executor.task_count = 5
    keeper.look(ask=True)
    assert len(executor.provider.submitted) == 2, "a bad executor gets no more blocks"


def test_a_block_that_is_empty_is_given_back_by_the_keeper(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), run_dir=str(tmp_path))
    make(executor)
    executor.idle, executor.busy = {"0": 0.0}, {"0"}
    with executor._blocks_lock:
        executor._blocks["0"].draining = 1.0
    executor._on_emptied("0")
    executor.provider.wait_for(lambda: executor.provider.cancelled == ["job-1"])


def test_changes_are_told_to_monitoring(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), run_dir=str(tmp_path))
    executor.monitoring_messages = messages = SimpleQueue()
    keeper, _ = make(executor)
    first = messages.get(timeout=SECONDS)
    assert (first["block_id"], first["job_id"], first["status"]) == ("0", "job-1", "PENDING")
    executor.connected.add("0")
    for state in (JobState.RUNNING, JobState.RUNNING, JobState.COMPLETED):
        executor.provider.states["job-1"] = JobStatus(state)
        keeper.look(ask=True)
    assert [messages.get(timeout=SECONDS)["status"] for _ in range(2)] == ["RUNNING", "COMPLETED"]
    assert messages.empty()


# -- how often, and the end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longest", "expected"),
    [
        (60, [0.25, 0.375, 0.5625, 0.84375, 60]),
        (0.3, [0.25, 0.3, 0.3, 0.3, 0.3]),
        (0, [0.25, 0.375, 0.5625, 0.84375, 1]),
    ],
)
def test_the_provider_is_asked_ever_more_rarely_until_something_changes(monkeypatch, longest, expected):
    monkeypatch.setattr(block_keeper, "FIRST_LOOK", 0.25)
    now, pauses = 1000.0, []
    rhythm = Rhythm(longest, now)
    for _ in range(30):
        pauses.append(rhythm.due - now)
        now = rhythm.due
        rhythm.asked(now)
    assert [*pauses[:4], pauses[-1]] == pytest.approx(expected)
    rhythm.changed(now)
    assert rhythm.due == now + 0.25
    rhythm.changed(now + 0.1)
    assert rhythm.due == now + 0.25, "changes in a row do not put it off"


@pytest.mark.parametrize(("strategy", "pause"), [("simple", 5), ("none", 40)])
def test_the_strategy_looks_more_often_than_the_provider_is_asked(make, strategy, pause):
    keeper, _ = make(strategy=strategy, period=5)
    keeper._rhythm.due = 1040.0
    assert keeper._pause(1000.0) == pause


def test_the_end_of_a_pause_after_failures_wakes_it(make):
    keeper, executor = make()
    executor.backoff.on_failure(1000.0, asked=1000.0)
    assert keeper._pause(1000.25) == 0.75


def test_it_asks_by_itself(monkeypatch, make):
    monkeypatch.setattr(block_keeper, "FIRST_LOOK", 0.001)
    _, executor = make(interval=0.001)
    executor.provider.wait_for(lambda: executor.provider.asks > 5)


def test_closing_waits_no_longer_than_it_is_told(make):
    keeper, executor = make()
    executor.provider.answering.clear()
    keeper.wake()
    assert executor.provider.asked.wait(SECONDS)
    assert not keeper.close(timeout=0.01)
    executor.provider.answering.set()
    assert keeper.close(SECONDS)
    assert executor.demand_changed is executor.blocks_changed is None


def test_what_comes_late_after_the_end_asks_for_nothing(make):
    keeper, executor = make(init_blocks=0)
    executor.provider.answering.clear()
    executor.scale_out_facade(1)
    keeper.wake()
    assert executor.provider.asked.wait(SECONDS)
    keeper.close(timeout=0.01)
    executor.task_count = 10
    executor.provider.answering.set()
    assert keeper.close(SECONDS)
    assert len(executor.provider.submitted) == 1


def test_it_may_be_closed_by_what_it_calls(make, tmp_path):
    executor = FakeExecutor(FakeProvider(), run_dir=str(tmp_path))
    keepers = []
    executor.block_error_handler = lambda *_: keepers[0].close()
    keeper, _ = make(executor)
    keepers.append(keeper)
    keeper.wake()
    keeper._thread.join(SECONDS)
    assert not keeper._thread.is_alive()
