"""What is said of a task and its block, and real tasks on blocks of this host."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from parsl.config import Config
from parsl.doctor.findings import Mark
from parsl.doctor.report import Report
from parsl.doctor.trial import _Watched, judge_portrait, portrait, run_trial
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import WrappedLauncher
from parsl.providers import LocalProvider

# -- judgements --------------------------------------------------------------------------------------------------------


def portrayed(**changes):
    return list(judge_portrait("x", {**portrait("."), **changes}, 1.23))


def test_a_worker_like_this_process():
    (finding,) = portrayed(host="node1")
    assert finding.mark is Mark.OK
    assert finding.text == "x: a task ran on node1 after 1.2 s, with the same Python and parsl"


@pytest.mark.parametrize("changes", [{"python": "3.9.0"}, {"parsl": "2020.1.1"}, {"sees_run_dir": False}])
def test_a_worker_unlike_this_process(changes):
    (finding,) = portrayed(**changes)
    assert finding.mark is Mark.WARN
    assert finding.remedy


def watched(tmp_path, jobs=("7",), **statuses):
    blocks = {str(n): status for n, status in enumerate(statuses.values())}
    executor = SimpleNamespace(
        label="x",
        status_facade=blocks,
        blocks_to_job_id={str(n): job for n, job in enumerate(jobs)},
        worker_logdir=str(tmp_path),
    )
    out = io.StringIO()
    return _Watched(executor, Report(out)), out


def test_changes_are_shown_once(tmp_path):
    watch, out = watched(tmp_path, block=JobStatus(JobState.PENDING, "Resources\nmore"))
    for _ in range(3):
        watch.look(1.5)
    watch.executor.status_facade["0"] = JobStatus(JobState.RUNNING)
    watch.look(2)
    lines = out.getvalue().splitlines()
    assert lines == [
        "   ..     1.5 s  x: block 0 (job 7) PENDING: Resources",
        "   ..     2.0 s  x: block 0 (job 7) RUNNING",
    ]


def test_no_verdict_while_there_is_hope(tmp_path):
    for state in (JobState.PENDING, JobState.RUNNING, JobState.HELD, JobState.UNKNOWN):
        assert watched(tmp_path, block=JobStatus(state))[0].verdict() is None


def test_verdict_on_a_block_that_ended(tmp_path):
    error = tmp_path / "stderr"
    error.write_text("disk full\n", encoding="utf-8")
    status = JobStatus(JobState.FAILED, "NonZeroExitCode", exit_code=7, stderr_path=str(error))
    finding = watched(tmp_path, block=status)[0].verdict()
    assert finding.text == "x: block 0 ended before a task ran (FAILED, exit code 7)"
    assert "NonZeroExitCode" in finding.reason
    assert "disk full" in finding.reason
    assert str(error) in finding.remedy


def test_verdict_on_a_block_that_was_refused(tmp_path):
    watch, _ = watched(tmp_path, jobs=(), block=JobStatus(JobState.FAILED, "sbatch: error: no such account"))
    finding = watch.verdict()
    assert (finding.text, finding.reason) == ("x: block 0 could not be submitted", "sbatch: error: no such account")


@pytest.mark.parametrize(
    ("statuses", "text", "reason"),
    [
        ({}, "x: no task ran within 9 s", "no block was asked for"),
        (
            {"b": JobStatus(JobState.PENDING, "Resources")},
            "x: no task ran within 9 s: the block is PENDING",
            "Resources",
        ),
        ({"b": JobStatus(JobState.HELD)}, "x: no task ran within 9 s: the block is HELD", "gives no reason"),
        ({"b": JobStatus(JobState.RUNNING)}, "x: no task ran within 9 s, though the block is running", "no route"),
    ],
)
def test_verdict_when_the_time_is_over(tmp_path, statuses, text, reason):
    log = tmp_path / "block-0" / "abc" / "manager.log"
    log.parent.mkdir(parents=True)
    log.write_text("Could not start: no route to the interchange\n", encoding="utf-8")
    finding = watched(tmp_path, **statuses)[0].verdict(timed_out=True, seconds=9)
    assert (finding.mark, finding.text) == (Mark.FAIL, text)
    assert reason in finding.reason


# -- real tasks --------------------------------------------------------------------------------------------------------


def htex(label, **options):
    provider = LocalProvider(init_blocks=3, max_blocks=5, min_blocks=2, **options)
    return HighThroughputExecutor(
        label=label, address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1, provider=provider
    )


def trial(tmp_path, *executors, labels=None, seconds=60.0):
    out = io.StringIO()
    report = Report(out)
    config = Config(executors=list(executors), run_dir=str(tmp_path / "runs"))
    run_trial(config, [e.label for e in executors] if labels is None else labels, seconds, report)
    return report, out.getvalue()


def test_each_executor_gets_a_task_and_no_more_than_a_block(tmp_path):
    executor = htex("a")
    report, text = trial(tmp_path, executor, ThreadPoolExecutor(label="t"))
    assert (report.count(Mark.OK), report.exit_code) == (2, 0)
    assert "a: a task ran on" in text
    assert "t: a task ran on" in text
    assert len(executor.provider.resources) == 1


def test_one_that_is_not_sound_is_left_alone(tmp_path):
    executor = htex("a")
    report, text = trial(tmp_path, executor, ThreadPoolExecutor(label="t"), labels=["t"])
    assert "a: not tried" in text
    assert not executor.provider.resources
    assert report.count(Mark.OK) == 1


def test_nothing_is_started_when_none_is_sound(tmp_path):
    _, text = trial(tmp_path, htex("a"), labels=[])
    assert "a: not tried" in text
    assert not (tmp_path / "runs").exists()


def test_a_block_that_dies_shows_its_last_words_while_others_go_on(tmp_path):
    dying = htex("dying", launcher=WrappedLauncher("bash -c 'echo the disk is full >&2; exit 7' --"))
    report, text = trial(tmp_path, dying, htex("living"))
    assert report.exit_code == 1
    assert "FAIL  dying: block 0 ended before a task ran (MISSING, exit code 7)" in text
    assert "the disk is full" in text
    assert "ok    living: a task ran on" in text
    assert len(dying.provider.resources) == 1


def test_a_block_without_a_word_is_given_back_when_the_time_is_over(tmp_path):
    executor = htex("mute", launcher=WrappedLauncher("sleep 600 #"))
    report, text = trial(tmp_path, executor, seconds=2.0)
    assert report.exit_code == 1
    assert "FAIL  mute: no task ran within 2 s, though the block is running" in text
    assert [s.terminal for s in executor.provider.status(list(executor.provider.resources))] == [True]


def test_an_executor_that_cannot_start(tmp_path):
    class Broken(ThreadPoolExecutor):
        def start(self):
            raise OSError("no more threads")

    report, text = trial(tmp_path, Broken(label="b"))
    assert report.exit_code == 1
    assert "OSError: no more threads" in text
