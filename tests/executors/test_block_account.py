"""Blocks in sentences."""

from __future__ import annotations

import pytest

from parsl.jobs.states import JobState, JobStatus
from tests.jobs.fakes import Clock, FakeExecutor, FakeProvider


@pytest.fixture
def provider():
    return FakeProvider(max_blocks=10)


@pytest.fixture
def executor(provider, tmp_path):
    made = FakeExecutor(provider, run_dir=str(tmp_path))
    made.clock = Clock()
    return made


def test_no_block(executor):
    assert executor.block_account() == ["It has no block now, and may have 10 of FakeProvider."]


def test_no_provider():
    assert FakeExecutor(None).block_account() == ["It has no provider: its blocks are started by somebody else."]


def test_blocks_that_wait_and_run(executor, provider):
    executor.scale_out_facade(2)
    executor.heard.add("1")
    executor.connected.add("1")
    provider.states["job-1"] = JobStatus(JobState.PENDING, "waits for its priority")
    provider.states["job-2"] = JobStatus(JobState.RUNNING)
    executor.poll_facade()
    executor.clock.now += 600
    assert executor.block_account() == [
        "Block 0 (job job-1), asked for 10 min ago, is PENDING: waits for its priority.",
        "Block 1 (job job-2), asked for 10 min ago, is RUNNING.",
    ]


def test_a_block_that_runs_and_is_not_heard_of(executor, provider):
    executor.scale_out_facade(1)
    provider.states["job-1"] = JobStatus(JobState.RUNNING)
    executor.poll_facade()
    assert executor.block_account() == [
        "Block 0 (job job-1), asked for 0 s ago, is RUNNING, but none of its workers has been heard of."
    ]


def test_a_block_on_its_way_out(executor):
    executor.scale_out_facade(1)
    executor.leaving = {"0"}
    assert executor.block_account()[0].endswith("is PENDING, and on its way out.")


def test_the_last_failure_is_told_in_the_providers_words(executor, provider):
    provider.trouble["submit"] = RuntimeError("sbatch: error: invalid account.")
    executor.scale_out_facade(1)
    assert executor.block_account() == [
        "It has no block now, and may have 10 of FakeProvider.",
        "The last block to fail was block 0, MISSING: Failed to start block 0: sbatch: error: invalid account.",
        "After 1 failure the next one is asked for in 1 s at the earliest.",
    ]


def test_a_provider_that_has_not_answered(executor, provider, monkeypatch):
    seen = []
    monkeypatch.setattr(provider, "submit", lambda *_: seen.append(executor.block_account()) or "job-1")
    executor.scale_out_facade(1)
    assert seen == [["Block 0 was given to FakeProvider 0 s ago, which has not answered yet."]]


def test_of_many_blocks_some_are_told_of(executor):
    executor.scale_out_facade(10)
    lines = executor.block_account()
    assert len(lines) == 6
    assert lines[-2:] == ["6 blocks more are 6 PENDING.", "It may have no more blocks: max_blocks is 10."]


def test_an_executor_that_knows_no_more_of_a_call(executor):
    executor.task_count = 3
    answers = []
    executor.why_waiting(None, answers.append)
    (answer,) = answers
    assert answer.text == "is with executor fake, which has 3 tasks"
    assert answer.details == ["It has no block now, and may have 10 of FakeProvider."]
