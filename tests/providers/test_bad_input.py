"""What batch systems refuse, and batch systems that are down, slow or full: their commands are real programs here.

After each, nothing of ours may be left with them.
"""

from __future__ import annotations

import os
import shlex
import time

import pytest

from parsl.launchers import SimpleLauncher
from parsl.providers import (
    CondorProvider,
    GridEngineProvider,
    LSFProvider,
    PBSProProvider,
    SlurmProvider,
    TorqueProvider,
)
from parsl.providers.errors import ScriptPathError, SubmitException

# Provider, its commands to submit and to cancel, and what they say of: an unknown account, a full and a silent system.
SYSTEMS = {
    "slurm": (
        SlurmProvider,
        ("sbatch", "scancel"),
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    ),
    "pbspro": (
        PBSProProvider,
        ("qsub", "qselect"),
        "qsub: Invalid account",
        "qsub: would exceed queue workq's per-user limit",
        "Connection refused\nqsub: cannot connect to server big (errno=15010)",
    ),
    "torque": (
        TorqueProvider,
        ("qsub", "qselect"),
        "qsub: submit error (Invalid Account MSG=invalid account)",
        "qsub: submit error (Maximum number of jobs already in queue MSG=total number of jobs in queue exceeds limit)",
        "qsub: cannot connect to server big (errno=111) Connection refused",
    ),
    "lsf": (
        LSFProvider,
        ("bsub", "bkill"),
        "Project <me> is not a valid project. Job not submitted.",
        "User <me>: Pending job threshold reached. Job not submitted.",
        "Failed in an LSF library call: LIM is down; try later. Job not submitted.",
    ),
    "grid_engine": (
        GridEngineProvider,
        ("qsub", "qdel"),
        'Unable to run job: job rejected: no access to project "me" for user "root".',
        "Unable to run job: job rejected: only 10 jobs are allowed per user (current job count: 10).",
        "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to contact qmaster",
    ),
    "condor": (
        CondorProvider,
        ("condor_submit", "condor_rm"),
        "ERROR: Failed submission for job 3.-1 - aborting entire submit: accounting group me is not known",
        "ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_OWNER",
        "ERROR: Can't find address of local schedd",
    ),
}


@pytest.fixture(params=SYSTEMS)
def name(request):
    return request.param


@pytest.fixture
def commands(name, tmp_path, monkeypatch):
    """Give a function that makes a command: what it does, as bash text. Each call of one is noted."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    calls = tmp_path / "calls"

    def make(program, does):
        path = folder / program
        path.write_text(f'#!/bin/bash\necho "{program} $*" >> {shlex.quote(str(calls))}\n{does}\n')
        path.chmod(0o755)

    _, (submit, cancel), *_ = SYSTEMS[name]
    make(submit, "exit 99")
    make(cancel, "exit 0")
    make.called = lambda: calls.read_text().splitlines() if calls.exists() else []
    return make


@pytest.fixture
def provider(name, commands, tmp_path):
    provider = SYSTEMS[name][0](launcher=SimpleLauncher(), cmd_timeout=1)
    provider.script_dir = str(tmp_path / "scripts")
    return provider


@pytest.mark.parametrize("words", [2, 3, 4], ids=["account", "full", "down"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_systems_own_words_are_in_the_error(name, provider, commands, words, blocks):
    (submit, cancel), text = SYSTEMS[name][1], SYSTEMS[name][words]
    commands(submit, f"echo Welcome to the machine; echo {shlex.quote(text)} >&2; exit 3")
    with pytest.raises(SubmitException) as caught:
        provider.submit_many(["true"] * blocks, 1, ["block"] * blocks)
    for line in text.splitlines():
        assert line in str(caught.value)
    assert (caught.value.retcode, caught.value.job_name) == (3, "block")
    assert provider.resources == {}
    # It said that there is no job, so there is none to be cancelled.
    assert [call for call in commands.called() if call.startswith(cancel)] == []


def test_a_submission_that_takes_too_long_is_given_up_and_what_may_come_of_it_cancelled(name, provider, commands):
    submit, cancel = SYSTEMS[name][1]
    commands(submit, "exec sleep 60")
    begin = time.monotonic()
    with pytest.raises(SubmitException, match="no answer within 1 s"):
        provider.submit("true", 1, "block")
    assert time.monotonic() - begin < 30
    assert provider.resources == {}
    assert len([call for call in commands.called() if call.startswith(cancel)]) == 1


def test_an_answer_without_id_is_an_error_that_shows_it(name, provider, commands):
    submit, cancel = SYSTEMS[name][1]
    commands(submit, "echo Thank you for your patience")
    with pytest.raises(SubmitException, match="no job id in what this command printed") as caught:
        provider.submit("true", 1)
    assert "Thank you for your patience" in str(caught.value)
    assert provider.resources == {}
    assert len([call for call in commands.called() if call.startswith(cancel)]) == 1


def test_a_folder_for_scripts_that_cannot_be_written(name, provider, commands, tmp_path):
    (tmp_path / "file").write_text("")
    provider.script_dir = str(tmp_path / "file" / "scripts")
    for blocks in (1, 3):
        with pytest.raises(ScriptPathError, match="file/scripts"):
            provider.submit_many(["true"] * blocks, 1)
    assert commands.called() == []
    assert provider.resources == {}
