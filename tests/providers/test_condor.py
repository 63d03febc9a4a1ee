from __future__ import annotations

from pathlib import Path

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher
from parsl.providers.condor.answers import read_history, read_queue
from parsl.providers.condor.condor import CondorProvider
from parsl.providers.errors import SubmitException
from tests.providers.recorded import Commands, recorded, states


def make(tmp_path, **options):
    provider = CondorProvider(launcher=SimpleLauncher(), **options)
    provider.script_dir = str(tmp_path)
    provider.execute_wait = Commands(
        condor_submit=(0, "12.0 - 12.0\n", ""), condor_q=(0, "", ""), condor_history=(0, "", ""), condor_rm=(0, "", "")
    )
    return provider


def description_of(provider, command="true"):
    path = provider.resources[provider.submit(command, 1, "block")]["script_path"]
    text = Path(f"{path}.submit").read_text()
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line), text


def test_the_job_id_is_found_among_banners():
    provider = CondorProvider()
    assert provider.parse_job_id(recorded("htcondor-23.9/condor_submit")[1]) is not None
    assert provider.parse_job_id("WARNING: the pool is old\n12.0 - 12.3\n") == "12"
    assert provider.parse_job_id("1 job(s) submitted") is None


def test_recorded_living():
    found = read_queue(recorded("htcondor-23.9/condor_q")[1])
    clusters = [status for job_id, status in found.items() if "." not in job_id]
    assert [status.state.name for status in clusters] == ["RUNNING", "HELD", "PENDING", "RUNNING"]
    assert "user's request" in clusters[1].message


def test_recorded_dead():
    found = read_history(recorded("htcondor-23.9/condor_history")[1])
    assert [(s.state.name, s.exit_code) for job_id, s in found.items() if "." not in job_id] == [
        ("TIMEOUT", None),
        ("CANCELLED", None),
        ("CANCELLED", None),
        ("FAILED", 137),
        ("FAILED", 7),
        ("COMPLETED", 0),
    ]


@pytest.mark.parametrize(
    ("rows", "state"), [("12", "RUNNING"), ("11", "PENDING"), ("51", "HELD"), ("21", "RUNNING"), ("9", "UNKNOWN")]
)
def test_several_jobs_are_one_block(rows, state):
    text = "".join(f"7, {n}, {row}, undefined\n" for n, row in enumerate(rows))
    assert states(read_queue(text))["7"] == state


def test_a_block_has_failed_if_one_of_its_jobs_has():
    text = "7, 0, 4, false, 0, undefined, undefined\n7, 1, 4, false, 5, undefined, undefined\n"
    found = read_history(text)
    assert (found["7"].state, found["7"].exit_code) == (JobState.FAILED, 5)
    assert states(found) == {"7": "FAILED", "7.0": "COMPLETED", "7.1": "FAILED"}


def test_a_job_that_ended_nobody_knows_how():
    text = "7, 0, 4, undefined, undefined, undefined, undefined\n"
    assert read_history(text)["7"].state is JobState.UNKNOWN


def test_what_is_no_answer_is_refused():
    for read in (read_queue, read_history):
        with pytest.raises(ValueError, match="no line about a job"):
            read("-- Failed to fetch ads from: <127.0.0.1:9618>\n")


def test_the_description(tmp_path):
    provider = make(
        tmp_path,
        nodes_per_block=2,
        cores_per_slot=4,
        mem_per_slot=1.5,
        environment={"A": "b 'c' \"d\" $(HOME)", "E": "1"},
        project="me",
        requirements='Arch == "X86_64"',
        transfer_input_files=["a", "b"],
        walltime="01:00:00",
        scheduler_options="nice_user = true",
    )
    facts, text = description_of(provider)
    assert facts["request_cpus"] == "4"
    assert facts["request_memory"] == "1536"
    assert facts["environment"] == "\"A='b ''c'' \"\"d\"\" $(DOLLAR)(HOME)' E='1'\""
    assert facts["+ProjectName"] == '"me"'
    assert facts["requirements"] == 'Arch == "X86_64"'
    assert facts["transfer_input_files"] == "a, b"
    assert facts["nice_user"] == "true"
    assert "> 3600)" in facts["periodic_remove"]
    assert text.splitlines()[-1] == "queue 2"
    assert provider.resources["12"]["exit_code_path"] is None


def test_defaults(tmp_path):
    facts, text = description_of(make(tmp_path))
    assert not {"request_cpus", "environment", "+ProjectName", "requirements", "transfer_input_files"} & facts.keys()
    assert text.splitlines()[-1] == "queue 1"


def test_a_project_cannot_add_lines(tmp_path):
    with pytest.raises(SubmitException, match="project has control characters"):
        make(tmp_path, project='me"\nqueue 1000').submit("true", 1)


def test_the_dead_are_asked_for_in_the_history(tmp_path):
    provider = make(tmp_path)
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["condor_history"] = (0, "12, 0, 4, false, 7, undefined, undefined\n", "")
    (status,) = provider.status([job_id])
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)


def test_a_bad_description_is_refused(tmp_path):
    provider = make(tmp_path)
    provider.execute_wait.answers["condor_submit"] = recorded("htcondor-23.9/condor_submit-bad")
    with pytest.raises(SubmitException, match="Parse error in expression"):
        provider.submit("true", 1)


def test_an_unknown_job_is_as_good_as_cancelled(tmp_path):
    provider = make(tmp_path)
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers["condor_rm"] = recorded("htcondor-23.9/condor_rm-unknown")
    assert provider.cancel([job_id]) == [True]


def test_commands_are_cut_to_chunks(tmp_path):
    provider = make(tmp_path, cmd_chunk_size=2)
    provider.resources.update({str(i): {"job_id": str(i)} for i in range(5)})
    provider.status(list(provider.resources))
    assert len([cmd for cmd in provider.execute_wait.asked if cmd.startswith("condor_q")]) == 3
    with pytest.raises(ConfigurationError, match="cmd_chunk_size"):
        CondorProvider(cmd_chunk_size=0)
