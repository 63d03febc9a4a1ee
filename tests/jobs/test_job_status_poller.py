"""The poller of a kernel: several executors side by side. What one keeper does is in test_block_keeper.py."""

from __future__ import annotations

import threading

import pytest

from parsl.executors.threads import ThreadPoolExecutor
from parsl.jobs import job_status_poller as poller_module
from parsl.jobs.job_status_poller import JobStatusPoller
from parsl.jobs.states import JobState, JobStatus
from tests.jobs.fakes import FakeExecutor, FakeProvider

SECONDS = 20


@pytest.fixture
def poller():
    poller = JobStatusPoller(strategy="simple", max_idletime=100, strategy_period=3600)
    yield poller
    poller.close(None)


@pytest.fixture
def make(tmp_path):
    return lambda label="fake", **provider: FakeExecutor(FakeProvider(**provider), label, run_dir=str(tmp_path))


class Hanging(FakeProvider):
    """A provider one of whose commands does not return until it is let go."""

    def __init__(self, what, **numbers):
        super().__init__(**numbers)
        self.hangs, self.go_on = threading.Event(), threading.Event()
        real = getattr(self, what)

        def hang(*args):
            self.hangs.set()
            assert self.go_on.wait(SECONDS)
            return real(*args)

        setattr(self, what, hang)


def test_executors_without_blocks_are_none_of_its_business(poller):
    before = threading.active_count()
    poller.add_executors([ThreadPoolExecutor(), FakeExecutor(None)])
    assert threading.active_count() == before


def test_the_first_blocks_of_all_are_there_when_executors_have_been_added(poller, make):
    first, second = make("first", init_blocks=2), make("second", init_blocks=3)
    poller.add_executors([first, second])
    assert [len(e.provider.submitted) for e in (first, second)] == [2, 3]
    third = make("third")
    poller.add_executors([third])
    assert len(third.blocks_to_job_id) == 1
    assert {t.name for t in threading.enumerate()} >= {f"parsl-blocks-{n}" for n in ("first", "second", "third")}


def test_a_provider_that_takes_no_block_in_time_is_not_waited_for(poller, make, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(poller_module, "FIRST_SECONDS", 0.05)
    slow = FakeExecutor(Hanging("submit"), "slow", run_dir=str(tmp_path))
    poller.add_executors([slow])
    assert "executor slow has not taken the first blocks within 0.05 s" in caplog.text
    assert slow.states() == {"0": JobState.PENDING}
    slow.provider.go_on.set()
    slow.provider.wait_for(lambda: slow.provider.submitted)


@pytest.mark.parametrize("what", ["submit", "status"])
def test_a_provider_that_hangs_stops_no_other(poller, make, tmp_path, what, monkeypatch):
    monkeypatch.setattr(poller_module, "FIRST_SECONDS", 0.05)
    hanging = FakeExecutor(Hanging(what), "hanging", run_dir=str(tmp_path))
    good = make("good", max_blocks=5)
    poller.add_executors([hanging, good])
    poller.wake()
    assert hanging.provider.hangs.wait(SECONDS)
    good.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    good.task_count = 4
    good.demand_changed()
    good.provider.wait_for(lambda: len(good.provider.submitted) == 4)
    poller.wake()
    good.provider.wait_for(lambda: good.states()["0"] is JobState.RUNNING)
    hanging.provider.go_on.set()


def test_trouble_of_one_executor_is_not_that_of_another(poller, make, caplog):
    bad, good = make("bad"), make("good")
    poller.add_executors([bad, good])
    bad.provider.trouble["status"] = RuntimeError("away")
    good.provider.states["job-1"] = JobStatus(JobState.RUNNING)
    poller.poll()
    assert good.states() == {"0": JobState.RUNNING}
    assert bad.states() == {"0": JobState.PENDING}
    assert "blocks of executor bad failed 1 times in a row in asking for their states" in caplog.text


def test_closing_ends_all_and_can_be_done_twice(poller, make):
    poller.add_executors([make("a"), make("b")])
    poller.close()
    poller.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("parsl-blocks")]


def test_closing_waits_no_longer_than_it_is_told(poller, tmp_path, caplog):
    executors = [FakeExecutor(Hanging("status"), label, run_dir=str(tmp_path)) for label in ("a", "b")]
    poller.add_executors(executors)
    poller.wake()
    for executor in executors:
        assert executor.provider.hangs.wait(SECONDS)
    poller.close(timeout=0.01)
    for executor in executors:
        assert f"The provider of executor {executor.label} has not answered" in caplog.text
        executor.provider.go_on.set()


def test_a_provider_that_hangs_does_not_keep_a_shutdown_waiting(poller, tmp_path, caplog):
    executor = FakeExecutor(Hanging("submit", init_blocks=0), run_dir=str(tmp_path))
    poller.add_executors([executor])
    executor.task_count = 1
    executor.demand_changed()
    assert executor.provider.hangs.wait(SECONDS)
    poller.close(timeout=0.01)
    executor.cancel_all_blocks(0.05)
    assert "look yourself for jobs named parsl.fake.block-0" in caplog.text.lower()
    executor.provider.go_on.set()
    executor.provider.wait_for(lambda: executor.provider.cancelled == ["job-1"])
