from __future__ import annotations

import pytest

from parsl.jobs.states import JobState
from parsl.launchers import AprunLauncher, SimpleLauncher
from parsl.providers.torque.torque import TorqueProvider, pbs_status
from tests.providers.recorded import Commands, recorded, script_of, states

FULL = """\
Job Id: 12.big.site.org
    Job_Name = parsl
    job_state = {state}
    comment = a long comment that goes
\ton in the next line
    exit_status = {code}
"""


@pytest.fixture
def provider(tmp_path):
    provider = TorqueProvider(launcher=SimpleLauncher(), account="me", queue="debug", nodes_per_block=2)
    provider.script_dir = str(tmp_path)
    provider.execute_wait = Commands(qsub=(0, "12.big\n", ""), qstat=(0, "", ""), qdel=(0, "", ""))
    return provider


def test_the_launcher_is_aprun_unless_told_otherwise():
    assert isinstance(TorqueProvider().launcher, AprunLauncher)


@pytest.mark.parametrize(
    ("text", "job_id"),
    [
        ("3.h1\n", "3.h1"),
        ("54\n", "54"),
        ("Welcome to big, 3 nodes are down\n\n  123456.big-01.site.org  \n", "123456.big-01.site.org"),
        ("12[].h1\n", "12[].h1"),
        ("no job for you\n", None),
        ("", None),
    ],
)
def test_the_job_id_is_found_among_banners(text, job_id):
    assert TorqueProvider().parse_job_id(text) == job_id


def test_the_script(provider):
    text = script_of(provider, provider.submit("true", 1, "a name that is longer than fifteen characters"))
    options = [line for line in text.splitlines() if line.startswith("#PBS")]
    assert options[2:] == ["#PBS -l walltime=00:20:00", "#PBS -l nodes=2:ppn=1", "#PBS -A me", "#PBS -q debug"]
    name = options[1].removeprefix("#PBS -N ")
    assert len(name) <= 15
    assert name[0].isalpha()


def test_what_the_job_prints_goes_beside_the_script(provider):
    record = provider.resources[provider.submit("true", 1)]
    assert f"-o {record['job_stdout_path']} -e {record['job_stderr_path']} " in provider.execute_wait.asked[0]


def test_recorded_status():
    found = TorqueProvider().parse_status(recorded("torque-slurm-22.05/qstat")[1])
    # Nothing tells how the one that has ended did.
    assert sorted(states(found).values()) == ["MISSING", "PENDING", "RUNNING"]


def test_recorded_status_of_openpbs():
    found = TorqueProvider().parse_status(recorded("openpbs-23.06/qstat-f-running")[1])
    assert states(found) == {"3.h1": "RUNNING"}
    assert "Job run at" in found["3.h1"].message


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("C", 0, (JobState.COMPLETED, 0)),
        ("C", 3, (JobState.FAILED, 3)),
        ("C", 271, (JobState.FAILED, 143)),
        ("C", -11, (JobState.TIMEOUT, None)),
        ("C", -1, (JobState.FAILED, None)),
        ("E", 0, (JobState.RUNNING, None)),
        ("H", 0, (JobState.HELD, None)),
        ("Z", 0, (JobState.UNKNOWN, None)),
    ],
)
def test_letters_and_exit_codes(provider, state, code, expected):
    (status,) = provider.parse_status(FULL.format(state=state, code=code)).values()
    assert (status.state, status.exit_code) == expected


def test_a_job_ended_by_qdel_was_cancelled_whatever_its_exit_code():
    assert pbs_status("F", {"substate": 91, "Exit_status": 0}).state is JobState.CANCELLED


def test_no_exit_status_is_no_success():
    assert pbs_status("C", {}).state is JobState.MISSING


def test_a_text_about_nothing_is_refused():
    with pytest.raises(ValueError, match="pbs_server is down"):
        TorqueProvider().parse_status("pbs_server is down\n")


def test_the_server_may_call_itself_otherwise(provider):
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["qstat"] = (0, FULL.format(state="R", code=0), "")
    assert job_id == "12.big"
    assert provider.status([job_id])[0].state is JobState.RUNNING


@pytest.mark.parametrize("name", ["openpbs-23.06/qdel-finished", "openpbs-23.06/qdel-unknown"])
def test_a_job_that_has_ended_is_as_good_as_cancelled(provider, name):
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["qdel"] = recorded(name)
    assert provider.cancel([job_id]) == [True]


@pytest.mark.parametrize(
    "name",
    ["openpbs-23.06/qstat-unknown", "openpbs-23.06/qstat-finished-without-x", "torque-slurm-22.05/qstat-unknown"],
)
def test_an_unknown_job_is_an_answer(provider, name):
    provider.clock = lambda: provider.now
    provider.now = 0.0
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["qstat"] = recorded(name)
    for _ in range(3):
        provider.now += 40
        provider.status([job_id])
    assert provider.status([job_id])[0].state is JobState.FAILED


def test_a_job_that_ended_without_a_word_has_failed_unless_its_script_tells_otherwise(provider):
    provider.clock = lambda: provider.now
    provider.now = 0.0
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["qstat"] = (0, "Job Id: 12.big\n\tjob_state = C\n", "")
    for _ in range(3):
        provider.now += 9
        assert provider.status([job_id])[0].state is JobState.PENDING
    provider.now += 9
    assert provider.status([job_id])[0].state is JobState.FAILED
