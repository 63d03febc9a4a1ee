from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from parsl.providers.cloud import CloudProvider, exit_code_in, load_sdk, machine_script
from parsl.providers.errors import SubmitException


class CloudError(Exception):
    pass


class FakeCloud(CloudProvider):
    """A cloud that answers what a test says."""

    label = "fake"

    def __init__(self) -> None:
        super().__init__(nodes_per_block=1, init_blocks=1, min_blocks=0, max_blocks=1, parallelism=1)
        self.now = 0.0
        self._clock = lambda: self.now
        self.answer: dict[str, JobStatus] | Exception = {}
        self.looks: list[list[str]] = []
        self.refuses: set[str] = set()
        self.ended: list[str] = []
        self.released: list[str] = []
        self.consoles: list[str | Exception] = []

    def _sdk_errors(self):
        return (CloudError,)

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        return self._add(command, job_name, mark=f"mark-{command}")

    def _look(self, job_ids):
        self.looks.append(job_ids)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {job_id: status for job_id, status in self.answer.items() if job_id in job_ids}

    def _end(self, job_ids):
        return self._each(job_ids, self._end_one)

    def _end_one(self, job_id):
        if job_id in self.refuses:
            raise CloudError("try later")
        self.ended.append(job_id)

    def _release(self, job_id):
        if job_id in self.refuses:
            raise CloudError("still busy")
        self.released.append(job_id)

    def _console(self, job_id):
        console = self.consoles.pop(0)
        if isinstance(console, Exception):
            raise console
        return console


@pytest.fixture
def cloud(tmp_path: Path) -> FakeCloud:
    cloud = FakeCloud()
    cloud.script_dir = str(tmp_path / "scripts")
    return cloud


def state_of(cloud: FakeCloud, job_id: str) -> JobState:
    cloud.now += 1000
    return cloud.status([job_id])[0].state


# What is known of jobs


def test_a_job_is_pending_until_the_cloud_says_more(cloud):
    job = cloud.submit("a", 1)
    assert state_of(cloud, job) is JobState.PENDING
    cloud.answer = {"a": JobStatus(JobState.RUNNING)}
    assert state_of(cloud, job) is JobState.RUNNING


def test_many_jobs_are_one_look_and_ended_ones_are_not_looked_at(cloud):
    for job in "abc":
        cloud.submit(job, 1)
    cloud.answer = {"a": JobStatus(JobState.COMPLETED, exit_code=0), "b": JobStatus(JobState.RUNNING)}
    statuses = cloud.status(["c", "b", "a"])
    assert [status.state for status in statuses] == [JobState.PENDING, JobState.RUNNING, JobState.COMPLETED]
    cloud.status(["a", "b", "c"])
    assert cloud.looks == [["c", "b", "a"], ["b", "c"]]
    cloud.status(["a"])
    assert len(cloud.looks) == 2


def test_an_unknown_job_is_unknown_and_not_cancelled(cloud):
    (status,) = cloud.status(["strange"])
    assert status.state is JobState.UNKNOWN
    assert "'strange'" in str(status.message)
    assert cloud.cancel(["strange"]) == [False]
    assert cloud.looks == []
    assert cloud.ended == []


def test_failed_looks_leave_the_state_and_the_third_shows_the_words(cloud):
    job = cloud.submit("a", 1)
    cloud.answer = {"a": JobStatus(JobState.RUNNING)}
    cloud.status([job])
    cloud.answer = CloudError("Rate exceeded")
    messages = []
    for _ in range(4):
        cloud.now += 1000
        (status,) = cloud.status([job])
        assert status.state is JobState.RUNNING
        messages.append(status.message)
    assert messages[:2] == [None, None]
    assert all("Rate exceeded" in message for message in messages[2:])
    cloud.answer = {"a": JobStatus(JobState.RUNNING)}
    cloud.now += 1000
    (status,) = cloud.status([job])
    assert status.message is None


def test_a_cloud_that_fails_is_asked_ever_more_rarely(cloud):
    job = cloud.submit("a", 1)
    cloud.answer = CloudError("down")
    for second in range(120):
        cloud.now = float(second)
        cloud.status([job])
    assert 3 <= len(cloud.looks) <= 7


def test_what_is_no_error_of_the_cloud_is_not_swallowed(cloud):
    job = cloud.submit("a", 1)
    cloud.answer = ZeroDivisionError("a defect")
    with pytest.raises(ZeroDivisionError):
        cloud.status([job])


def test_unknown_changes_the_message_alone(cloud):
    job = cloud.submit("a", 1)
    cloud.answer = {"a": JobStatus(JobState.UNKNOWN, "the machine is stopping")}
    (status,) = cloud.status([job])
    assert (status.state, status.message) == (JobState.PENDING, "the machine is stopping")


def test_what_an_ended_job_left_is_released_once_and_tried_again(cloud):
    job = cloud.submit("a", 1)
    cloud.refuses = {"a"}
    cloud.answer = {"a": JobStatus(JobState.FAILED)}
    cloud.status([job])
    assert cloud.released == []
    cloud.refuses = set()
    cloud.status([job])
    cloud.status([job])
    assert cloud.released == ["a"]


def test_cancel_tells_which_jobs_go_on(cloud, caplog):
    jobs = [cloud.submit(name, 1) for name in "abc"]
    cloud.answer = {"a": JobStatus(JobState.COMPLETED)}
    cloud.status(jobs)
    cloud.refuses = {"b"}
    assert cloud.cancel(jobs) == [True, False, True]
    assert cloud.ended == ["c"]
    assert "try later" in caplog.text
    cloud.answer = {}
    assert [s.state for s in cloud.status(jobs)] == [JobState.COMPLETED, JobState.PENDING, JobState.CANCELLED]
    cloud.refuses = set()
    assert cloud.cancel(jobs) == [True, True, True]
    assert cloud.ended == ["c", "b"]


def test_linger_leaves_jobs_alone(cloud):
    cloud.linger = True
    job = cloud.submit("a", 1)
    assert cloud.cancel([job]) == [False]
    assert cloud.ended == []
    cloud.answer = {"a": JobStatus(JobState.COMPLETED)}
    assert state_of(cloud, job) is JobState.COMPLETED
    assert cloud.released == []


statuses = st.sampled_from(list(JobState)).map(JobStatus)
events = st.lists(st.one_of(statuses, st.just(CloudError("no")), st.just("cancel")), max_size=30)


@settings(max_examples=200, deadline=None)
@given(events)
def test_any_history_of_answers(history: list[Any]):
    cloud = FakeCloud()
    job = cloud.submit("a", 1)
    expected = JobState.PENDING
    for event in history:
        cloud.now += 1000
        if event == "cancel":
            assert cloud.cancel([job]) == [True]
            if expected not in TERMINAL_STATES:
                expected = JobState.CANCELLED
            continue
        cloud.answer = event if isinstance(event, Exception) else {"a": event}
        (status,) = cloud.status([job])
        said = isinstance(event, JobStatus) and event.state is not JobState.UNKNOWN
        if said and expected not in TERMINAL_STATES:
            expected = event.state
        assert status.state is expected
    # Each is released once if it ended by itself, and never if it was cancelled.
    assert len(cloud.released) + len(cloud.ended) == (1 if expected in TERMINAL_STATES else 0)


# A machine that is off


def test_last_words_tell_how_a_block_ended(cloud):
    for name, code, state in (("a", 0, JobState.COMPLETED), ("b", 7, JobState.FAILED)):
        cloud.submit(name, 1)
        cloud.consoles = [f"boot\nparsl-block mark-{name} exit code {code}\n"]
        status = cloud._switched_off(name, "off")
        assert (status.state, status.exit_code) == (state, code)
        assert "boot" in status.stdout


def test_late_last_words_are_waited_for(cloud):
    cloud.submit("a", 1)
    cloud.consoles = ["", CloudError("not yet"), "parsl-block mark-a exit code 3"]
    states = [cloud._switched_off("a", "off").state for _ in range(3)]
    assert states == [JobState.UNKNOWN, JobState.UNKNOWN, JobState.FAILED]
    cloud.consoles = ["parsl-block mark-b exit code 0"]
    assert cloud._switched_off("a", "off").state is JobState.FAILED


def test_without_last_words_a_block_is_not_called_completed(cloud):
    cloud.submit("a", 1)
    cloud.consoles = ["Linux version"] * 3
    status = [cloud._switched_off("a", "by itself") for _ in range(3)][-1]
    assert status.state is JobState.FAILED
    assert status.exit_code is None
    assert "by itself" in str(status.message)


def test_output_that_cannot_be_written_is_no_end_of_the_world(cloud, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cloud.script_dir = str(tmp_path / "file")
    cloud.submit("a", 1)
    cloud.consoles = ["parsl-block mark-a exit code 1"]
    status = cloud._switched_off("a", "off")
    assert (status.state, status.stdout_path) == (JobState.FAILED, None)
    assert "can't be written" in caplog.text


# The script of a machine


def run_script(script: str, tmp_path: Path) -> tuple[str, str]:
    """Run it as a machine would; its console is a file, and it can't switch this machine off."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / "shutdown").write_text(f"#!/bin/sh\necho $* > {tmp_path}/shutdown\n")
    (stubs / "shutdown").chmod(0o755)
    script = script.replace("/dev/console", str(tmp_path / "console"))
    environment = {"PATH": f"{stubs}:/usr/bin:/bin", "HOME": str(tmp_path)}
    command = ["bash", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert (tmp_path / "console").read_text() == done.stdout
    return done.stdout, done.stderr


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_script_tells_its_exit_code_and_switches_off(tmp_path, code):
    out, err = run_script(machine_script("echo init", f"echo body; (exit {code})", "m1", power_off=True), tmp_path)
    assert exit_code_in(out, "m1") == code
    assert out.startswith("init\nbody\n")
    assert (tmp_path / "shutdown").read_text() == "-h now\n"
    assert err == ""


def test_script_that_lingers_does_not_switch_off(tmp_path):
    out, _ = run_script(machine_script("", "exit 4", "m1", power_off=False), tmp_path)
    assert exit_code_in(out, "m1") == 4
    assert not (tmp_path / "shutdown").exists()


def test_script_expands_nothing_of_the_block(tmp_path):
    text = "PARSL_BLOCK\n`touch wrong` $(touch wrong) \\\\ $HOME 'single' \"double\"\nPARSL_BLOCK_"
    worker_init = f"cat <<'END'\n{text}\nEND\n# ends in a backslash \\"
    out, _ = run_script(machine_script(worker_init, "echo done", "m1", power_off=False), tmp_path)
    assert out.startswith(f"{text}\ndone\n")
    assert not (tmp_path / "parsl" / "wrong").exists()


def test_script_tells_the_end_of_long_output(tmp_path):
    out, _ = run_script(machine_script("", "seq 100000; exit 2", "m1", power_off=False), tmp_path)
    assert len(out) < 5000
    assert "\n100000\n" in out
    assert exit_code_in(out, "m1") == 2


@given(st.text(), st.integers(0, 255), st.text())
def test_exit_code_is_found_in_any_console(before, code, after):
    assert exit_code_in(f"{before}\nparsl-block m.1 exit code {code}\n{after}", "m.1") == code
    assert exit_code_in(f"{before}\nparsl-block mx1 exit code {code}\n{after}", "m.1") is None


# Bad input


def test_a_missing_library_is_named_with_its_extra():
    with pytest.raises(OptionalModuleMissing, match=r"no_such_sdk.*pip install 'parsl\[nimbus\]'"):
        load_sdk("nimbus", "no_such_sdk")


WITHOUT_LIBRARIES = """
import sys
for name in ("boto3", "botocore", "azure", "google", "kubernetes"):
    sys.modules[name] = None
from parsl.errors import OptionalModuleMissing
from parsl.providers import AWSProvider, AzureProvider, GoogleCloudProvider, KubernetesProvider
keys = "publisher", "offer", "sku", "version", "vm_size", "disk_size_gb", "admin_username", "password"
vm = dict.fromkeys(keys, "x")
for extra, provider in {
    "aws": AWSProvider("ami-0", "key"), "azure": AzureProvider(vm), "kubernetes": KubernetesProvider("image"),
    "google_cloud": GoogleCloudProvider("project", None, "us-central1-a", "debian-cloud", "debian-12"),
}.items():
    repr(provider)
    try:
        provider.submit("true", 1)
    except OptionalModuleMissing as error:
        assert f"parsl[{extra}]" in str(error), error
        print(extra)
"""


def test_without_the_libraries_providers_can_be_made_and_say_what_is_missing():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", WITHOUT_LIBRARIES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["aws", "azure", "kubernetes", "google_cloud"], "")


def test_errors_of_a_submission_carry_the_words(cloud):
    error = cloud._refused("job", CloudError("quota used up"))
    assert isinstance(error, SubmitException)
    assert "quota used up" in str(error)


def test_block_numbers_are_checked():
    class Small(FakeCloud):
        def __init__(self):
            CloudProvider.__init__(self, nodes_per_block=0, init_blocks=1, min_blocks=0, max_blocks=1, parallelism=1)

    with pytest.raises(ConfigurationError, match="nodes_per_block"):
        Small()
