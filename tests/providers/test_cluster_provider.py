"""The base of batch systems, on Slurm's command lines: what runs is what each test says."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import time
from pathlib import Path

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher, SrunLauncher
from parsl.launchers.errors import BadLauncher
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.errors import ScriptPathError, SubmitException
from parsl.providers.slurm.slurm import SlurmProvider
from tests.providers.recorded import Commands, recorded, script_of

TIMEOUT = subprocess.TimeoutExpired("x", 10)
DOWN = recorded("slurm-22.05/squeue-controller-down")
NOTHING = (0, "", "")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def provider(tmp_path):
    provider = SlurmProvider(launcher=SimpleLauncher())
    provider.script_dir = str(tmp_path / "scripts")
    provider.clock = Clock()
    provider.execute_wait = Commands(
        sbatch=[(0, f"Submitted batch job {i}\n", "") for i in range(1, 500)],
        squeue=NOTHING,
        sacct=NOTHING,
        scontrol=NOTHING,
        scancel=NOTHING,
    )
    return provider


def answer(provider, **answers):
    provider.execute_wait.answers.update(answers)


def look(provider, *job_ids):
    """Let time enough pass for the batch system to be asked, and return the states."""
    provider.clock.now += 301
    return [status.state for status in provider.status(list(job_ids))]


def leave_exit_code(provider, job_id, code):
    Path(provider.resources[job_id]["exit_code_path"]).write_text(f"{code}\n")


# Submitting


def test_a_job_is_known_from_its_submission_on(provider):
    job_id = provider.submit("the command", 1, "parsl.htex.block-0")
    record = provider.resources[job_id]
    assert job_id == record["job_id"] == "1"
    assert record["status"].state is JobState.PENDING
    assert record["script_path"].startswith(f"{provider.script_dir}/parsl.htex.block-0.")
    assert record["job_stdout_path"] == f"{record['script_path']}.stdout"
    assert record["job_stderr_path"] == f"{record['script_path']}.stderr"
    assert "the command" in script_of(provider, job_id)
    assert provider.status([]) == []


def test_script_dir_may_be_a_path_object(provider, tmp_path):
    provider.script_dir = tmp_path
    assert provider.resources[provider.submit("true", 1)]["script_path"].startswith(str(tmp_path))


def test_execute_wait_may_be_replaced_by_what_takes_no_timeout(provider):
    provider.execute_wait = lambda cmd: (0, "Submitted batch job 77", "")
    assert provider.submit("true", 1) == "77"


def test_execute_wait_runs_a_command_within_its_time():
    provider = SlurmProvider(cmd_timeout=1)
    assert provider.execute_wait("echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")
    with pytest.raises(subprocess.TimeoutExpired):
        provider.execute_wait("sleep 100")
    with pytest.raises(subprocess.TimeoutExpired):
        provider.execute_wait("sleep 100", 0.1)


def test_what_the_batch_system_says_of_a_refused_job_is_in_the_exception(provider):
    answer(provider, sbatch=recorded("slurm-22.05/sbatch-unknown-partition"))
    with pytest.raises(SubmitException) as caught:
        provider.submit("true", 1, "block")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.job_name, error.retcode) == ("block", 1)
    assert "invalid partition specified: nosuch" in error.stderr
    for part in ("block", "sbatch --output=", "exit code 1", "invalid partition specified: nosuch"):
        assert part in str(error)
    assert provider.resources == {}
    assert not [cmd for cmd in provider.execute_wait.asked if "scancel" in cmd]


def test_a_missing_command_is_named(provider, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    del provider.execute_wait
    with pytest.raises(SubmitException, match=r"there is no command sbatch.*PATH") as caught:
        provider.submit("true", 1)
    assert caught.value.retcode == 127


@pytest.mark.parametrize("sbatch", [TIMEOUT, (0, "Thank you for computing with us", "")])
def test_a_job_that_may_be_there_is_cancelled_by_its_name(provider, sbatch):
    answer(provider, sbatch=sbatch)
    with pytest.raises(SubmitException, match=r"no answer within 10 s|no job id in what"):
        provider.submit("true", 1, "block")
    assert "scancel --name=block." in provider.execute_wait.asked[-1]


def test_a_job_that_may_be_there_and_cannot_be_cancelled_is_named(provider):
    answer(provider, sbatch=TIMEOUT, scancel=(1, "", "scancel: error: slurm is down"))
    with pytest.raises(SubmitException, match=r"if there is a job block\..* cancel it.*slurm is down"):
        provider.submit("true", 1, "block")


def test_without_a_script_folder(provider):
    provider.script_dir = None
    with pytest.raises(SubmitException, match="script_dir"):
        provider.submit("true", 1)


@pytest.mark.parametrize("folder", ["file/in/the/way", "line\nbreak"])
def test_a_script_folder_that_cannot_be_used(provider, tmp_path, folder):
    (tmp_path / "file").write_text("")
    provider.script_dir = str(tmp_path / folder)
    with pytest.raises(ScriptPathError):
        provider.submit("true", 1)
    assert provider.execute_wait.asked == []


def test_a_script_that_cannot_be_run_from_elsewhere(provider):
    with pytest.raises(ValueError, match="no command"):
        provider.launcher = SrunLauncher()
        provider.submit("  ", 1)


def test_a_value_with_a_line_break_never_reaches_the_script(provider):
    provider.account = "me\n#SBATCH --uid=0"
    with pytest.raises(SubmitException, match="account has control characters"):
        provider.submit("true", 1)
    assert provider.execute_wait.asked == []


def test_any_job_name_will_do(provider):
    job_id = provider.submit("true", 1, "my job; rm -rf ~ $(id) \n#SBATCH --uid=0")
    assert len([line for line in script_of(provider, job_id).splitlines() if line.startswith("#SBATCH --uid")]) == 0
    assert " " not in provider.resources[job_id]["job_name"]


def test_cores_and_memory_are_told_to_the_workers(provider):
    provider.cores_per_node, provider.mem_per_node = 16, 1.5
    text = script_of(provider, provider.submit("true", 1))
    assert "export PARSL_CORES=16\n" in text
    assert "export PARSL_MEMORY_GB=1.5\n" in text


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [("01:30:05", 5405), ("100:00:00", 360000), ("30", None), ("10:00", None), ("1-00:00:00", None)],
)
def test_the_end_of_a_block_is_told_to_the_workers_by_the_clock_of_the_node(provider, walltime, seconds):
    provider.walltime = walltime
    assert provider.block_seconds == seconds
    job_id = provider.submit("echo ${PARSL_BLOCK_ENDS:-none}", 1)
    begin = int(time.time())
    answer = subprocess.check_output(["bash", provider.resources[job_id]["script_path"]], text=True).strip()
    if seconds is None:
        assert answer == "none"
    else:
        assert begin + seconds <= int(answer) <= time.time() + seconds


def test_the_script_runs_and_leaves_its_exit_code(provider):
    provider.worker_init = "export WHO=you"
    job_id = provider.submit('echo "hello $WHO"; exit 4', 1)
    ended = subprocess.run(
        ["bash", provider.resources[job_id]["script_path"]], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (4, "hello you\n")
    assert look(provider, job_id) == [JobState.FAILED]
    assert provider.status([job_id])[0].exit_code == 4


# The status


def test_an_answer_is_taken_over_with_paths_and_message(provider):
    job_id = provider.submit("true", 1)
    answer(provider, squeue=(0, "1|PENDING|QOSMaxJobsPerUserLimit\n", ""))
    (status,) = provider.status([job_id])
    assert status.state is JobState.PENDING
    assert "QOSMaxJobsPerUserLimit" in status.message
    assert status.stdout_path == provider.resources[job_id]["job_stdout_path"]
    assert provider.resources[job_id]["status"] is status


def test_many_jobs_are_asked_for_in_few_commands_and_come_back_in_order(provider):
    provider.status_batch_size = 50
    ids = [provider.submit("true", 1) for _ in range(120)]
    rows = "".join(f"{i}|{'RUNNING' if int(i) % 2 else 'PENDING'}|None\n" for i in reversed(ids))
    answer(provider, squeue=(0, rows, ""))
    found = provider.status([*ids, "1"])
    assert [s.state.name for s in found] == ["RUNNING", "PENDING"] * 60 + ["RUNNING"]
    assert len([cmd for cmd in provider.execute_wait.asked if cmd.startswith("squeue")]) == 3


def test_jobs_that_have_ended_are_not_asked_for_again(provider):
    first, second = provider.submit("true", 1), provider.submit("true", 1)
    answer(provider, squeue=(0, "1|COMPLETED|None\n2|RUNNING|None\n", ""), sacct=(0, "1|COMPLETED|0:0\n", ""))
    assert look(provider, first, second) == [JobState.COMPLETED, JobState.RUNNING]
    look(provider, first, second)
    assert provider.execute_wait.asked[-1].endswith("--jobs=2")
    provider.execute_wait.asked.clear()
    look(provider, first)
    assert provider.execute_wait.asked == []


@pytest.mark.parametrize("trouble", [DOWN, TIMEOUT, OSError("out of processes"), (0, "Maintenance until 5 pm\n", "")])
def test_trouble_leaves_the_last_state_and_is_told_the_third_time(provider, trouble, caplog):
    job_id = provider.submit("true", 1)
    answer(provider, squeue=(0, "1|RUNNING|None\n", ""))
    assert look(provider, job_id) == [JobState.RUNNING]
    answer(provider, squeue=trouble)
    with caplog.at_level(logging.WARNING):
        for n in range(1, 50):
            assert look(provider, job_id) == [JobState.RUNNING]
            message = provider.status([job_id])[0].message
            assert (message is not None) == (n >= 3)
    words = "Unable to contact|no answer within 10 s|out of processes|Maintenance until 5 pm"
    assert any(word in message for word in words.split("|"))
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    answer(provider, squeue=(0, "1|RUNNING|None\n", ""))
    look(provider, job_id)
    assert provider.status([job_id])[0].message is None


def test_a_system_in_trouble_is_asked_ever_less_often(provider):
    job_id = provider.submit("true", 1)
    answer(provider, squeue=DOWN)
    asked = 0
    for _ in range(600):  # a look each half second for 5 minutes
        provider.clock.now += 0.5
        provider.status([job_id])
    asked = len([cmd for cmd in provider.execute_wait.asked if cmd.startswith("squeue")])
    assert 6 <= asked <= 9


def test_a_job_that_was_never_heard_of_stays_pending_while_there_is_trouble(provider):
    job_id = provider.submit("true", 1)
    answer(provider, squeue=TIMEOUT)
    assert [look(provider, job_id) for _ in range(9)] == [[JobState.PENDING]] * 9


def test_no_second_command_is_tried_once_one_took_too_long(provider):
    provider.status_batch_size = 1
    ids = [provider.submit("true", 1) for _ in range(3)]
    answer(provider, squeue=TIMEOUT)
    look(provider, *ids)
    assert len([cmd for cmd in provider.execute_wait.asked if cmd.startswith("squeue")]) == 1


def test_what_is_known_of_some_counts_though_others_could_not_be_asked_for(provider):
    provider.status_batch_size = 1
    first, second = provider.submit("true", 1), provider.submit("true", 1)
    answer(provider, squeue=[(0, "1|RUNNING|None\n", ""), DOWN])
    assert look(provider, first, second) == [JobState.RUNNING, JobState.PENDING]


def test_the_script_is_a_witness_while_the_batch_system_is_silent(provider):
    good, bad = provider.submit("true", 1), provider.submit("true", 1)
    leave_exit_code(provider, good, 0)
    leave_exit_code(provider, bad, 9)
    answer(provider, squeue=DOWN)
    assert look(provider, good, bad) == [JobState.COMPLETED, JobState.FAILED]


def test_a_job_that_vanishes_has_failed_after_a_minute_and_not_before(provider):
    job_id = provider.submit("true", 1)
    answer(provider, squeue=(0, "1|RUNNING|None\n", ""))
    look(provider, job_id)
    answer(provider, squeue=recorded("slurm-22.05/squeue-unknown"), sacct=NOTHING)
    for _ in range(6):
        provider.clock.now += 10
        assert provider.status([job_id])[0].state is JobState.RUNNING
    provider.clock.now += 10
    (status,) = provider.status([job_id])
    assert status.state is JobState.FAILED
    assert "slurm says nothing more of the job" in status.message


def test_a_job_of_somebody_else_is_unknown(provider):
    (status,) = provider.status(["4711"])
    assert status.state is JobState.UNKNOWN
    assert "4711" in status.message
    assert provider.execute_wait.asked == []


def test_a_job_that_was_put_into_resources_is_looked_at(provider):
    provider.resources["12"] = {"job_id": "12"}
    answer(provider, squeue=(0, "12|RUNNING|None\n", ""))
    assert look(provider, "12") == [JobState.RUNNING]


# Cancelling


def test_many_jobs_are_cancelled_in_one_command(provider):
    ids = [provider.submit("true", 1) for _ in range(3)]
    assert provider.cancel([*ids, "4711"]) == [True, True, True, False]
    assert provider.execute_wait.asked[-1] == "scancel 1 2 3"


def test_a_cancelled_job_is_cancelled_when_the_batch_system_says_so(provider):
    job_id = provider.submit("true", 1)
    provider.cancel([job_id])
    answer(provider, squeue=(0, "1|COMPLETING|None\n", ""))
    assert look(provider, job_id) == [JobState.RUNNING]
    answer(provider, squeue=(0, "1|CANCELLED|None\n", ""))
    assert look(provider, job_id) == [JobState.CANCELLED]
    provider.execute_wait.asked.clear()
    assert provider.cancel([job_id]) == [True]
    assert provider.execute_wait.asked == []


def test_where_one_of_many_cannot_be_cancelled_the_others_are(provider, caplog):
    ids = [provider.submit("true", 1) for _ in range(3)]
    denied = (1, "", "scancel: error: Kill job error on job id 2: Access/permission denied")
    answer(provider, scancel=[denied, NOTHING, denied, NOTHING])
    assert provider.cancel(ids) == [True, False, True]
    assert "permission denied" in caplog.text


def test_an_unknown_job_is_as_good_as_cancelled(provider):
    job_id = provider.submit("true", 1)
    answer(provider, scancel=(1, "", "scancel: error: Kill job error on job id 1: Invalid job id specified"))
    assert provider.cancel([job_id]) == [True]


def test_a_cancel_without_answer_is_no_cancel(provider):
    job_id = provider.submit("true", 1)
    answer(provider, scancel=TIMEOUT)
    assert provider.cancel([job_id]) == [False]


# Construction


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes_per_block": 0}, "nodes_per_block"),
        ({"max_blocks": -1}, "max_blocks"),
        ({"parallelism": float("nan")}, "parallelism"),
        ({"walltime": "an hour"}, "walltime"),
        ({"walltime": "01:00:00\n#SBATCH --uid=0"}, "walltime"),
        ({"cmd_timeout": 0}, "cmd_timeout"),
    ],
)
def test_values_that_cannot_be_meant(options, words):
    with pytest.raises(ConfigurationError, match=words):
        SlurmProvider(**options)


def test_a_launcher_that_cannot_be_called():
    with pytest.raises(BadLauncher):
        SlurmProvider(launcher="srun")


def test_a_subclass_may_replace_the_verbs_as_a_whole():
    class Mine(ClusterProvider):
        def __init__(self):
            super().__init__("mine", 1, 0, 0, 1, 1, "00:10:00", SimpleLauncher())

        def submit(self, command, tasks_per_node, job_name="parsl.auto"):
            code, out, _ = self.execute_wait("echo 5")
            assert code == 0
            self.resources[out.strip()] = {"job_id": out.strip()}
            return out.strip()

        def status(self, job_ids):
            return []

        def cancel(self, job_ids):
            return [True for _ in job_ids]

    mine = Mine()
    assert (mine.label, mine.cmd_timeout, mine.submit("true", 1)) == ("mine", 10, "5")


def test_commands_run_without_shell_injection_by_the_path(provider, tmp_path):
    provider.script_dir = str(tmp_path / "a 'b' $(touch pwned) ; `touch pwned`")
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "sbatch"
    fake.write_text('#!/bin/bash\n[ -x "${@: -1}" ] && echo "Submitted batch job 5"\n')
    fake.chmod(0o755)
    del provider.execute_wait
    before = os.environ["PATH"]
    try:
        os.environ["PATH"] = f"{tmp_path}/bin:{before}"
        assert provider.submit("true", 1) == "5"
    finally:
        os.environ["PATH"] = before
    assert not Path("pwned").exists()
