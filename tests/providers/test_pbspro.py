from __future__ import annotations

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher, SingleNodeLauncher
from parsl.providers.errors import SubmitException
from parsl.providers.pbspro.pbspro import PBSProProvider
from parsl.providers.torque.torque import TorqueProvider
from tests.providers.recorded import Commands, recorded, script_of, states


@pytest.fixture
def provider(tmp_path):
    provider = PBSProProvider(launcher=SimpleLauncher(), nodes_per_block=2, cpus_per_node=4)
    provider.script_dir = str(tmp_path)
    provider.execute_wait = Commands(qsub=recorded("openpbs-23.06/qsub"), qstat=(0, "", ""), qdel=(0, "", ""))
    return provider


def status_in(name):
    (status,) = PBSProProvider().parse_status(recorded(f"openpbs-23.06/{name}")[1]).values()
    return status.state.name, status.exit_code


def test_it_is_a_torque_provider_with_another_label_and_launcher():
    provider = PBSProProvider()
    assert isinstance(provider, TorqueProvider)
    assert isinstance(provider.launcher, SingleNodeLauncher)
    assert provider.label == "pbspro"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qstat-json-running", ("RUNNING", None)),
        ("qstat-f-queued", ("PENDING", None)),
        ("qstat-x-json-finished", ("FAILED", 3)),
        # The exit status of this one is 0: it was ended by qdel and has not completed.
        ("qstat-x-json-deleted", ("CANCELLED", None)),
        ("qstat-x-json-unknown-and-known", ("FAILED", 3)),
    ],
)
def test_recorded_status(name, expected):
    assert status_in(name) == expected


def test_why_a_job_waits_is_told():
    found = PBSProProvider().parse_status(recorded("openpbs-23.06/qstat-f-queued")[1])
    assert "Can Never Run" in found["5.h1"].message


def test_values_that_are_no_strict_json():
    text = '{"Jobs": {"1.h": {"job_state": "R", "Variable_List": {"X": "a\tb\x01"}}}}'
    assert states(PBSProProvider().parse_status(text)) == {"1.h": "RUNNING"}


@pytest.mark.parametrize("text", ["Job id  Name\n", '{"Jobs": {"1.h": {"job_st', "[]", '{"Jobs": []}'])
def test_what_is_no_answer_is_refused(text):
    with pytest.raises(ValueError):
        PBSProProvider().parse_status(text)


def test_a_status_for_known_and_unknown_jobs(provider):
    job_id = provider.submit("true", 1)
    provider.resources["99999.h1"] = {"job_id": "99999.h1"}
    provider.execute_wait.answers["qstat"] = recorded("openpbs-23.06/qstat-x-json-unknown-and-known")
    known, unknown = provider.status([job_id, "99999.h1"])
    assert (known.state, known.exit_code) == (JobState.FAILED, 3)
    assert unknown.state is JobState.UNKNOWN
    assert provider._system.failures == 0


def test_the_select_statement(provider):
    provider.select_options = "ngpus=2"
    provider.scheduler_options = "#PBS -l place=scatter"
    text = script_of(provider, provider.submit("true", 1, "block-0"))
    lines = [line for line in text.splitlines() if line.startswith("#PBS")]
    assert lines[2:] == ["#PBS -l walltime=00:20:00", "#PBS -l select=2:ncpus=4:ngpus=2", "#PBS -l place=scatter"]
    assert lines[1].startswith("#PBS -N block-0.")


@pytest.mark.parametrize(
    ("name", "words"), [("qsub-unknown-queue", "Unknown queue"), ("qsub-unknown-resource", "Unknown resource: foo")]
)
def test_a_refused_job(provider, name, words):
    provider.execute_wait.answers["qsub"] = recorded(f"openpbs-23.06/{name}")
    with pytest.raises(SubmitException, match=words):
        provider.submit("true", 1)


def test_no_cpus():
    with pytest.raises(ConfigurationError, match="cpus_per_node"):
        PBSProProvider(cpus_per_node=0)
