"""What every batch system has to do for job arrays, in its own words."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher
from parsl.providers import (
    CondorProvider,
    GridEngineProvider,
    LSFProvider,
    PBSProProvider,
    SlurmProvider,
    TorqueProvider,
)
from parsl.providers.errors import SubmitException
from tests.providers.recorded import Commands

PBS = """{"Jobs": {
"7[0].h": {"job_state": "R"}, "7[1].h": {"job_state": "X", "Exit_status": 3}, "7[2].h": {"job_state": "{2}"}}}
"""
TORQUE = """\
Job Id: 7[0].h
    job_state = R
Job Id: 7[1].h
    job_state = C
    exit_status = 3
Job Id: 7[2].h
    job_state = {2}
"""
GRID_ENGINE = """\
job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
      7 0.50000 block 1    root         r     11/25/2026 18:29:40 all.q@node1                        1 1
      7 0.50000 block 1    root         {2}     11/25/2026 18:29:40                                    1 3
"""
GRID_ENGINE_PAST = """\
==============================================================
jobnumber    7
taskid       2
failed       0
exit_status  3
==============================================================
jobnumber    8
taskid       undefined
failed       0
exit_status  0
"""


class System(NamedTuple):
    """A batch system as it talks of array 7, whose first job runs, the second ended with 3 and the third waits."""

    kind: type
    submit: tuple[str, str]
    arguments: str
    ids: list[str]
    variable: str
    status: dict[str, str]
    waiting: str
    cancel: str


SYSTEMS = {
    "slurm": System(
        SlurmProvider,
        ("sbatch", "Submitted batch job 7"),
        "--array=0-2 ",
        ["7_0", "7_1", "7_2"],
        "SLURM_ARRAY_TASK_ID",
        {"squeue": "7_0|RUNNING|None\n7_2|{2}|Priority\n", "sacct": "7_1|FAILED|3:0\n"},
        "PENDING",
        "scancel 7_2",
    ),
    "grid_engine": System(
        GridEngineProvider,
        ("qsub", 'Your job-array 7.1-3:1 ("block 1") has been submitted'),
        "-t 1-3 ",
        ["7.1", "7.2", "7.3"],
        "SGE_TASK_ID",
        {"qstat": GRID_ENGINE, "for": GRID_ENGINE_PAST},
        "qw",
        "qdel 7.3",
    ),
    "condor": System(
        CondorProvider,
        ("condor_submit", "7.0 - 7.2"),
        "-queue 3",
        ["7.0", "7.1", "7.2"],
        "",
        {
            "condor_q": "7, 0, 2, undefined\n7, 2, {2}, undefined\n",
            "condor_history": "7, 1, 4, false, 3, undefined, undefined\n",
        },
        "1",
        "condor_rm 7.2",
    ),
    "torque": System(
        TorqueProvider,
        ("qsub", "7[].h"),
        "-t 0-2 ",
        ["7[0].h", "7[1].h", "7[2].h"],
        "PBS_ARRAYID",
        {"qstat": TORQUE},
        "Q",
        "qdel '7[2].h'",
    ),
    "pbspro": System(
        PBSProProvider,
        ("qsub", "7[].h"),
        "-J 0-2 ",
        ["7[0].h", "7[1].h", "7[2].h"],
        "PBS_ARRAY_INDEX",
        {"qstat": PBS},
        "Q",
        "qdel '7[2].h'",
    ),
    "lsf": System(
        LSFProvider,
        ("bsub", "Job <7> is submitted to queue <normal>."),
        "[1-3]' ",
        ["7[1]", "7[2]", "7[3]"],
        "LSB_JOBINDEX",
        {"bjobs": "7 1 RUN -\n7 2 EXIT 3\n7 3 {2} -\n"},
        "PEND",
        "bkill '7[3]'",
    ),
}


@pytest.fixture(params=SYSTEMS)
def system(request):
    return SYSTEMS[request.param]


@pytest.fixture
def provider(system, tmp_path):
    provider = system.kind(launcher=SimpleLauncher())
    provider.script_dir = str(tmp_path / "a folder")
    answers = {program: (0, text.replace("{2}", system.waiting), "") for program, text in system.status.items()}
    program, text = system.submit
    provider.execute_wait = Commands(**{program: (0, f"Welcome\n{text}\n", ""), system.cancel.split()[0]: (0, "", "")})
    provider.execute_wait.answers |= answers
    return provider


def test_blocks_are_one_submission(provider, system):
    assert provider.submit_many(["echo a", "echo b", "echo c"], 1, ["block"] * 3) == system.ids
    (command,) = provider.execute_wait.asked
    assert command.startswith(system.submit[0])
    assert system.arguments in f"{command} "
    assert list(provider.resources) == system.ids


def test_each_block_has_its_own_files(provider, system):
    ids = provider.submit_many(["echo a", "echo b", "echo c"], 1)
    records = [provider.resources[job_id] for job_id in ids]
    for name in ("script_path", "exit_code_path", "job_stdout_path", "job_stderr_path"):
        assert len({record[name] for record in records}) == 3
    assert ["echo b" in Path(record["script_path"]).read_text() for record in records] == [False, True, False]


def test_status_exit_code_and_end_of_single_jobs(provider, system):
    first, second, third = provider.submit_many(["a", "b", "c"], 1)
    statuses = provider.status([third, second, first])
    assert [s.state for s in statuses] == [JobState.PENDING, JobState.FAILED, JobState.RUNNING]
    assert statuses[1].exit_code == 3
    assert provider.cancel([third]) == [True]
    assert provider.execute_wait.asked[-1] == system.cancel


def test_the_script_of_an_array_runs_that_of_the_job(provider, system):
    """It is run here with the batch system's variable, as the batch system would."""
    if system.kind is CondorProvider:
        pytest.skip("HTCondor takes a program for each job, so there is no such script")
    ids = provider.submit_many(["echo a", "echo b; exit 4", "echo c"], 1)
    record = provider.resources[ids[1]]
    array, _, number = record["script_path"].rpartition(".")

    def run(**variables):
        return subprocess.run(
            ["bash", array], env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, text=True, check=False
        )

    ended = run(**{system.variable: number})
    assert ended.returncode == 4
    own = Path(record["job_stdout_path"])
    assert (own.read_text() if own.exists() else ended.stdout) == "b\n"
    assert Path(record["exit_code_path"]).read_text() == "4\n"
    alone = run()
    assert alone.returncode != 0
    assert system.variable in alone.stderr


def test_where_arrays_are_refused_blocks_are_submitted_one_by_one(provider, system):
    program, _ = system.submit
    single = "7.0 - 7.0" if system.kind is CondorProvider else system.submit[1].replace("-array", "").replace("[]", "")
    single = single.replace("7.1-3:1", "7")
    provider.execute_wait.answers[program] = [
        (1, "", "job array limit exceeded"),
        *((0, single.replace("7", str(n)), "") for n in (11, 12)),
    ]
    assert [job_id.partition(".")[0] for job_id in provider.submit_many(["a", "b"], 1)] == ["11", "12"]
    assert provider.blocks_per_submission == 1


def test_other_refusals_are_told_and_arrays_stay(provider, system):
    provider.execute_wait.answers[system.submit[0]] = (1, "", "no such account: me")
    with pytest.raises(SubmitException, match="no such account: me"):
        provider.submit_many(["a", "b"], 1)
    assert provider.resources == {}
    assert provider.blocks_per_submission > 1


@pytest.mark.parametrize("kind", [TorqueProvider, PBSProProvider])
def test_a_pbs_that_ignores_the_option_is_asked_for_single_jobs(kind, tmp_path):
    provider = kind(launcher=SimpleLauncher())
    provider.script_dir = str(tmp_path)
    provider.execute_wait = Commands(qsub=[(0, f"{n}.h", "") for n in (7, 8, 9)], qdel=(0, "", ""))
    assert provider.submit_many(["a", "b"], 1) == ["8.h", "9.h"]
    assert [command for command in provider.execute_wait.asked if "qdel" in command] == ["qdel 7.h"]


def test_blocks_of_several_nodes_are_no_array_of_htcondor():
    assert CondorProvider(nodes_per_block=2).blocks_per_submission == 1
