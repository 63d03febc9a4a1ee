from __future__ import annotations

import pytest

from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher
from parsl.providers.errors import SubmitException
from parsl.providers.grid_engine.grid_engine import GridEngineProvider
from tests.providers.recorded import Commands, recorded, script_of, states

EMPTY = recorded("gridengine-8.1.9/qstat-empty")


@pytest.fixture
def provider(tmp_path):
    provider = GridEngineProvider(launcher=SimpleLauncher(), queue="all.q", scheduler_options="#$ -pe smp 2")
    provider.script_dir = str(tmp_path)
    provider.execute_wait = Commands(
        **{"qsub": recorded("gridengine-8.1.9/qsub"), "qstat": EMPTY, "for": (1, "", "error: job id 29 not found\n")}
    )
    return provider


def test_the_job_id_is_found_among_banners(provider):
    assert provider.parse_job_id("Motd\n" + recorded("gridengine-8.1.9/qsub")[1]) == "29"
    assert provider.parse_job_id("Unable to run job") is None


def test_the_script(provider):
    text = script_of(provider, provider.submit("true", 1, "0-block"))
    lines = [line for line in text.splitlines() if line.startswith("#$")]
    assert lines[0] == "#$ -S /bin/bash"
    assert lines[1].startswith("#$ -N p0-block.")
    assert lines[2:] == ["#$ -cwd", "#$ -l h_rt=00:10:00", "#$ -q all.q", "#$ -pe smp 2"]


def test_configs(provider):
    configs = provider.get_configs("the command", 1)
    assert configs["user_script"] == "the command"
    assert configs["walltime"] == "00:10:00"


def test_recorded_living(provider):
    found = provider.parse_status(recorded("gridengine-8.1.9/qstat")[1])
    assert list(states(found).values()) == ["RUNNING", "PENDING", "HELD", "HELD"]
    assert "Eqw" in list(found.values())[2].message


@pytest.mark.parametrize(
    ("letters", "state"),
    [("hRwq", "HELD"), ("t", "RUNNING"), ("dr", "RUNNING"), ("S", "HELD"), ("Rr", "RUNNING"), ("d", "UNKNOWN")],
)
def test_letters(provider, letters, state):
    line = f"  25 0.25000 my job     root         {letters}    11/23/2026 03:32:48 all.q@node1      1"
    assert states(provider.parse_status(line)) == {"25": state}


def test_recorded_dead(provider):
    found = provider.parse_history(recorded("gridengine-8.1.9/qacct")[1])
    assert [(s.state.name, s.exit_code) for s in found.values()] == [
        ("COMPLETED", 0),
        ("FAILED", 7),
        ("FAILED", 137),
        ("TIMEOUT", 137),
    ]


def test_what_is_no_answer_is_refused(provider):
    with pytest.raises(ValueError, match="begins no record"):
        provider.parse_history("qacct: no accounting file\n")
    with pytest.raises(ValueError, match="no line about a job"):
        provider.parse_status("hello\n")


def test_a_master_that_is_down_is_trouble(provider):
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["qstat"] = recorded("gridengine-8.1.9/qstat-master-down")
    assert provider.status([job_id])[0].state is JobState.PENDING
    assert provider._system.failures == 1


def test_a_dead_job_is_asked_for_at_qacct(provider):
    job_id = provider.submit("true", 1)
    failed = list(provider.parse_history(recorded("gridengine-8.1.9/qacct")[1]))[1]
    text = recorded("gridengine-8.1.9/qacct")[1].replace(f"jobnumber    {failed} ", "jobnumber    29 ")
    provider.execute_wait.answers["for"] = (1, text, "error: job id 99999 not found\n")
    (status,) = provider.status([job_id])
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)


@pytest.mark.parametrize("name", ["qdel", "qdel-ended"])
def test_unknown_jobs_are_as_good_as_cancelled(provider, name):
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["qdel"] = recorded(f"gridengine-8.1.9/{name}")
    assert provider.cancel([job_id]) == [True]


def test_a_queue_that_does_not_exist(provider):
    provider.execute_wait.answers["qsub"] = recorded("gridengine-8.1.9/qsub-unknown-queue")
    with pytest.raises(SubmitException, match='unknown queue "nosuch"'):
        provider.submit("true", 1)
