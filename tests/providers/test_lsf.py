"""The outputs here are written after LSF's documentation: there is no LSF to record them from."""

from __future__ import annotations

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher
from parsl.providers.errors import SchedulerMissingArgs
from parsl.providers.lsf.lsf import LSFProvider
from tests.providers.recorded import Commands, script_of, states


def make(tmp_path, **options):
    provider = LSFProvider(launcher=SimpleLauncher(), **options)
    provider.script_dir = str(tmp_path)
    provider.execute_wait = Commands(
        bsub=(0, "Job <42> is submitted to default queue <normal>.\n", ""), bjobs=(0, "", ""), bkill=(0, "", "")
    )
    return provider


def options_of(provider):
    text = script_of(provider, provider.submit("true", 1, "block"))
    return [line.removeprefix("#BSUB ") for line in text.splitlines() if line.startswith("#BSUB")][1:]


def test_the_job_id_is_found_among_banners():
    text = "You have 100 hours left.\nJob <4711> is submitted to queue <gpu>.\nBye\n"
    assert LSFProvider().parse_job_id(text) == "4711"
    assert LSFProvider().parse_job_id("Request aborted by esub. Job not submitted.") is None


def test_status():
    text = "1  0   RUN -\n2 0 PEND -\n3 0 DONE -\n4 0 EXIT 7\n5 0 EXIT  140\n6 0 PSUSP -\n7 0 UNKWN -\n8 0 EXIT -\n"
    found = LSFProvider().parse_status(text)
    assert list(states(found).values()) == [
        "RUNNING",
        "PENDING",
        "COMPLETED",
        "FAILED",
        "TIMEOUT",
        "HELD",
        "UNKNOWN",
        "FAILED",
    ]
    assert [found[i].exit_code for i in "345"] == [0, 7, 140]
    assert "UNKWN" in found["7"].message


def test_what_is_no_answer_is_refused():
    with pytest.raises(ValueError, match="LSF is down"):
        LSFProvider().parse_status("LSF is down. Please wait ...\n")


def test_nodes_are_asked_for(tmp_path):
    provider = make(tmp_path, nodes_per_block=2, walltime="01:05:30", queue="q", project="p")
    assert options_of(provider) == ["-W 1:05", "-nnodes 2", "-q q", "-P p"]


def test_cores_are_asked_for(tmp_path):
    provider = make(tmp_path, request_by_nodes=False, cores_per_block=8, cores_per_node=4)
    assert options_of(provider) == ["-W 0:10", "-n 8", "-R 'span[ptile=4]'"]


def test_a_walltime_below_a_minute_is_a_minute(tmp_path):
    assert options_of(make(tmp_path, walltime="00:00:20"))[0] == "-W 0:01"


@pytest.mark.parametrize("redirected", [True, False])
def test_the_script_by_name_or_as_input(tmp_path, redirected):
    provider = make(tmp_path, bsub_redirection=redirected)
    provider.submit("true", 1)
    assert (" < " in provider.execute_wait.asked[0]) == redirected


def test_cores_need_a_number():
    with pytest.raises(SchedulerMissingArgs, match="cores_per_block"):
        LSFProvider(request_by_nodes=False)
    with pytest.raises(ConfigurationError, match="cores_per_node"):
        LSFProvider(cores_per_node=0)


def test_unknown_and_ended_jobs(tmp_path):
    provider = make(tmp_path)
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers |= {
        "bjobs": (255, "42 0 RUN -\n", "Job <43> is not found\n"),
        "bkill": (255, "", "Job <42>: Job has already finished\n"),
    }
    assert provider.status([job_id])[0].state is JobState.RUNNING
    assert provider._system.failures == 0
    assert provider.cancel([job_id]) == [True]


def test_lsf_that_is_down_is_trouble(tmp_path):
    provider = make(tmp_path)
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["bjobs"] = (255, "", "batch daemon not responding ... still trying\n")
    assert provider.status([job_id])[0].state is JobState.PENDING
    assert provider._system.failures == 1
