from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import SimpleLauncher, SingleNodeLauncher, SrunLauncher, WrappedLauncher
from parsl.launchers.errors import BadLauncher
from parsl.providers import LocalProvider
from parsl.providers.errors import ExecutionProviderException, ScriptPathError, SubmitException
from parsl.representation import RepresentationMixin

FOREVER = "exec sleep 1000"


def read(fifo: str) -> str:
    """Wait for someone to write to the fifo and to close it."""
    return Path(fifo).read_text()


def wait_ended(job_id: str) -> None:
    """Wait until a block's script has ended, and leave it to the provider to find out."""
    os.waitid(os.P_PID, int(job_id), os.WEXITED | os.WNOWAIT)


def run(provider: LocalProvider, command: str, tasks: int = 1, job_name: str = "parsl.auto") -> JobStatus:
    job_id = provider.submit(command, tasks, job_name)
    wait_ended(job_id)
    (status,) = provider.status([job_id])
    return status


# The way of a block


def test_a_block_that_ends_well(provider: LocalProvider) -> None:
    status = run(provider, "echo out; echo err >&2")
    assert status.state is JobState.COMPLETED
    assert status.exit_code == 0
    assert status.message is None
    assert (status.stdout, status.stderr) == ("out\n", "err\n")


def test_a_block_that_fails(provider: LocalProvider) -> None:
    status = run(provider, "echo broken >&2; exit 42")
    assert status.state is JobState.FAILED
    assert status.exit_code == 42
    assert status.stderr_summary == "broken\n"
    assert "exit code 42" in str(status.message)


def test_a_command_that_is_not_there(provider: LocalProvider) -> None:
    status = run(provider, "no-such-command-at-all")
    assert (status.state, status.exit_code) == (JobState.FAILED, 127)
    assert "no-such-command-at-all" in str(status.stderr)


def test_a_block_whose_script_is_killed(provider: LocalProvider) -> None:
    status = run(provider, "kill -KILL $$")
    assert (status.state, status.exit_code) == (JobState.FAILED, 137)
    assert "SIGKILL" in str(status.message)


def test_a_block_is_running_until_it_ends(provider: LocalProvider, fifo: str) -> None:
    job_id = provider.submit(f"echo go > {fifo}; {FOREVER}", 1)
    assert provider.status([job_id])[0].state is JobState.RUNNING
    assert read(fifo) == "go\n"
    assert provider.status([job_id])[0].state is JobState.RUNNING
    assert provider.cancel([job_id]) == [True]
    assert provider.status([job_id])[0].state is JobState.CANCELLED
    assert provider.cancel([job_id]) == [True]


def test_status_of_many_keeps_the_order(provider: LocalProvider) -> None:
    good, bad = provider.submit("exit 0", 1), provider.submit("exit 1", 1)
    wait_ended(good)
    wait_ended(bad)
    states = [status.state for status in provider.status([bad, good, "0", bad])]
    assert states == [JobState.FAILED, JobState.COMPLETED, JobState.UNKNOWN, JobState.FAILED]


def test_unknown_ids_are_told_and_not_cancelled(provider: LocalProvider) -> None:
    assert "'nobody'" in str(provider.status(["nobody"])[0].message)
    assert provider.cancel(["nobody"]) == [False]


def test_a_block_that_ended_by_itself_stays_what_it_was(provider: LocalProvider) -> None:
    job_id = provider.submit("exit 3", 1)
    wait_ended(job_id)
    assert provider.cancel([job_id]) == [True]
    assert provider.status([job_id])[0].state is JobState.FAILED


def test_standard_input_is_empty(provider: LocalProvider) -> None:
    assert run(provider, "cat").state is JobState.COMPLETED


# Scripts


def test_worker_init_comes_first_and_its_functions_can_be_used(provider: LocalProvider) -> None:
    provider.worker_init = "greet() { echo hello $1; }\nexport WHO=you"
    assert run(provider, "greet $WHO").stdout == "hello you\n"


def test_worker_init_does_not_run_into_what_follows(provider: LocalProvider, tmp_path: Path) -> None:
    provider.worker_init = f"SCRIPT_DIR={shlex.quote(str(tmp_path))} \\"
    assert run(provider, 'printf %s "$SCRIPT_DIR"').stdout == provider.script_dir


def test_a_worker_init_that_exits_fails_the_block(provider: LocalProvider) -> None:
    provider.worker_init = "exit 9"
    status = run(provider, "echo it ran")
    assert (status.state, status.exit_code, status.stdout) == (JobState.FAILED, 9, "")


def test_a_worker_init_that_is_no_bash_fails_with_what_bash_says(provider: LocalProvider) -> None:
    provider.worker_init = "if then ("
    status = run(provider, "echo it ran")
    assert status.state is JobState.FAILED
    assert "syntax error" in str(status.stderr)


def test_files_and_resources(provider: LocalProvider) -> None:
    job_id = provider.submit("echo out", 1, job_name="parsl.htex.block-0")
    wait_ended(job_id)
    record = provider.resources[job_id]
    script = Path(record["script_path"])
    assert str(script.parent) == provider.script_dir
    assert script.name.startswith("parsl.htex.block-0.")
    assert script.suffix == ".sh"
    assert script.stat().st_mode & 0o777 == 0o700
    assert record["job_stdout_path"] == f"{script}.stdout"
    assert record["job_stderr_path"] == f"{script}.stderr"
    assert record["job_id"] == job_id
    (status,) = provider.status([job_id])
    assert record["status"] is status
    assert (status.stdout_path, status.stderr_path) == (record["job_stdout_path"], record["job_stderr_path"])


def test_blocks_of_one_name_have_scripts_of_their_own(provider: LocalProvider) -> None:
    job_ids = [provider.submit(f"echo {i}", 1) for i in range(5)]
    assert len(set(job_ids)) == len({provider.resources[job_id]["script_path"] for job_id in job_ids}) == 5
    for i, job_id in enumerate(job_ids):
        wait_ended(job_id)
        assert provider.status([job_id])[0].stdout == f"{i}\n"


def test_a_process_id_that_comes_again_makes_a_new_job_id(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Everything(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            return "." not in str(key) or super().__contains__(key)

    monkeypatch.setattr(provider, "resources", Everything())
    job_id = provider.submit("true", 1)
    pid, _, more = job_id.partition(".")
    assert pid.isdecimal()
    assert more
    wait_ended(pid)
    assert provider.status([job_id])[0].state is JobState.COMPLETED


def test_script_dir_may_have_any_name(provider: LocalProvider, tmp_path: Path) -> None:
    provider.script_dir = str(tmp_path / "a 'b' \"c\" $HOME `id` \\ \n d")
    assert run(provider, 'printf %s "$SCRIPT_DIR"').stdout == provider.script_dir


def test_script_dir_may_be_relative(provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    provider.script_dir = "here"
    status = run(provider, "pwd")
    assert status.stdout == f"{tmp_path}\n"
    assert os.path.dirname(str(status.stdout_path)) == str(tmp_path / "here")


def test_launchers_write_beside_the_script(provider: LocalProvider, tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nexec "${@: -2}"\n')
    srun.chmod(0o755)
    provider.launcher = SrunLauncher(debug=False)
    provider.worker_init = f"PATH={shlex.quote(str(tmp_path))}:$PATH"
    assert run(provider, "echo it ran").stdout == "it ran\n"
    assert len(list(Path(str(provider.script_dir)).glob("cmd_*.sh"))) == 1


def test_a_slash_in_the_job_name_does_not_leave_the_folder(provider: LocalProvider) -> None:
    status = run(provider, "true", job_name="../../up/and away")
    assert os.path.dirname(str(status.stdout_path)) == provider.script_dir


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_text_reaches_bash_unchanged(provider: LocalProvider, text: str) -> None:
    provider.worker_init = f"init={shlex.quote(text)}"
    status = run(provider, f'printf "%s|%s" "$init" {shlex.quote(text)}')
    assert Path(str(status.stdout_path)).read_bytes().decode() == f"{text}|{text}"


def test_tasks_per_node_and_nodes_reach_the_launcher(provider: LocalProvider) -> None:
    given: list[tuple[str, int, int]] = []

    def launcher(command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        given.append((command, tasks_per_node, nodes_per_block))
        return "echo mine"

    provider.launcher, provider.nodes_per_block = launcher, 3
    assert run(provider, "cmd", 2).stdout == "mine\n"
    assert given == [("cmd", 2, 3)]


def test_the_launcher_may_be_changed_while_in_use(provider: LocalProvider) -> None:
    launcher = WrappedLauncher("echo one")
    provider.launcher = launcher
    assert run(provider, "x").stdout == "one x\n"
    launcher.prepend = "echo two"
    assert run(provider, "x").stdout == "two x\n"
    provider.launcher = SimpleLauncher()
    assert run(provider, "echo three").stdout == "three\n"


# What can be wrong


def test_without_script_dir_the_error_says_so(provider: LocalProvider) -> None:
    provider.script_dir = None
    with pytest.raises(SubmitException, match="script_dir") as caught:
        provider.submit("true", 1, job_name="my block")
    assert caught.value.job_name == "my block"
    assert provider.resources == {}


def test_a_script_dir_that_cannot_be_written_is_named(provider: LocalProvider, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    provider.script_dir = str(tmp_path / "file" / "scripts")
    with pytest.raises(ScriptPathError, match="file/scripts/parsl") as caught:
        provider.submit("true", 1)
    assert isinstance(caught.value, ExecutionProviderException)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_script_dir_without_permission_is_named(provider: LocalProvider, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    provider.script_dir = str(closed)
    with pytest.raises(ScriptPathError, match=r"closed/parsl.*Permission"):
        provider.submit("true", 1)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "", "-rf", "a b\n$(id)"])
def test_job_names_that_cannot_be_file_names(provider: LocalProvider, name: str) -> None:
    assert run(provider, "true", job_name=name).state is JobState.COMPLETED


def test_a_command_that_cannot_be_written_is_a_clear_error(provider: LocalProvider) -> None:
    with pytest.raises(ScriptPathError, match="surrogates"):
        provider.submit("echo \ud800", 1)


def test_without_bash_the_error_says_so(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SubmitException, match="bash"):
        provider.submit("true", 1)
    assert provider.resources == {}


def test_what_the_launcher_refuses_is_not_started(provider: LocalProvider) -> None:
    with pytest.raises(ValueError, match="0 tasks"):
        provider.submit("true", 0)
    with pytest.raises(ValueError, match="empty"):
        provider.submit("", 1)
    assert provider.resources == {}


def test_a_launcher_has_to_be_callable() -> None:
    with pytest.raises(BadLauncher, match="'srun'"):
        LocalProvider(launcher="srun")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("max_blocks", "4"), ("worker_init", None), ("parallelism", "1")])
def test_wrong_types_are_refused(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"LocalProvider: parameter '{name}'"):
        LocalProvider(**{name: value})  # type: ignore[arg-type]


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="LocalProvider: max_blocks has to be at least 0, but is -1"):
        LocalProvider(max_blocks=-1)


# What a provider is, as an object


def test_attributes_and_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepresentationMixin, "_validate_repr", True)
    provider = LocalProvider(min_blocks=2, worker_init="true")
    assert (provider.label, provider.status_polling_interval) == ("local", 5)
    assert (provider.nodes_per_block, provider.init_blocks, provider.min_blocks, provider.max_blocks) == (1, 1, 2, 1)
    assert (provider.parallelism, provider.cmd_timeout, provider.worker_init) == (1, 30, "true")
    assert isinstance(provider.launcher, SingleNodeLauncher)
    assert provider.launcher is not LocalProvider().launcher
    assert "launcher=SingleNodeLauncher(debug=True" in repr(provider)
    provider.status_polling_interval = 1
    provider.cores_per_node = 3
    assert (LocalProvider().status_polling_interval, LocalProvider().cores_per_node) == (5, None)


def test_submit_is_fast(provider: LocalProvider) -> None:
    provider.submit("true", 1)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        provider.submit("true", 1)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.015
    for job_id in provider.resources:
        wait_ended(job_id)
