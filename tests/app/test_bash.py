"""Bash apps: exit codes, command lines, standard streams, walltime, outputs."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from parsl import File, bash_app, python_app
from parsl.app import bash_command
from parsl.app.bash import BashApp, remote_side_bash_executor
from parsl.app.errors import (
    AppBadFormatting,
    AppTimeout,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
)
from parsl.app.futures import DataFuture
from parsl.dataflow.dflow import DataFlowKernel
from tests.kernels import SOON


@bash_app
def run(command: str, stdout: Any = None, stderr: Any = None, walltime: float | None = None) -> str:
    return command


def failure(future: Any) -> Any:
    return future.exception(timeout=SOON)


# -- exit codes -------------------------------------------------------------------------------------------------------


def test_success_is_zero(kernel: DataFlowKernel) -> None:
    assert run("true").result(timeout=SOON) == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("exit 15", 15),
        ("exit 255", 255),
        ("false", 1),
        ("/this/is/no/command 2>/dev/null", 127),
        ("echo $((1/0)) 2>/dev/null", 1),
        ("kill -9 $$", -9),
        ("true; false | true", 0),
    ],
)
def test_exit_codes_come_through(kernel: DataFlowKernel, command: str, code: int, tmp_path: Path) -> None:
    future = run(command, stderr=str(tmp_path / "err"))
    if code == 0:
        assert future.result(timeout=SOON) == 0
        return
    error = failure(future)
    assert isinstance(error, BashExitFailure)
    assert (error.exitcode, error.app_name) == (code, "run")
    assert f"exit code {code}" in str(error)


def test_a_file_that_cannot_be_run(kernel: DataFlowKernel, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo no")
    assert failure(run(f"{script} 2>/dev/null")).exitcode == 126


def test_a_failure_tells_command_files_and_last_words(kernel: DataFlowKernel, tmp_path: Path) -> None:
    out, err = str(tmp_path / "out"), str(tmp_path / "err")
    text = str(failure(run("echo it went wrong >&2; exit 3", stdout=out, stderr=err)))
    assert "echo it went wrong >&2; exit 3" in text
    assert out in text
    assert err in text
    assert text.endswith("it went wrong")


def test_the_last_words_are_the_last(kernel: DataFlowKernel, tmp_path: Path) -> None:
    command = "seq 100000 >&2; printf '\\377' >&2; exit 1"
    error = failure(run(command, stderr=str(tmp_path / "err")))
    assert error.stderr_tail.endswith("99999\n100000\n\N{REPLACEMENT CHARACTER}")
    assert len(error.stderr_tail) <= 2000


def test_each_command_has_a_shell_of_its_own(kernel: DataFlowKernel, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    run(f"cd {tmp_path}/before; export LEFT=1").result(timeout=SOON)
    run(f"echo $PWD $LEFT > {tmp_path}/out").result(timeout=SOON)
    assert (tmp_path / "out").read_text() == f"{os.getcwd()}\n"


# -- the command line -------------------------------------------------------------------------------------------------


def test_the_function_gets_what_it_has_parameters_for(kernel: DataFlowKernel, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    bare = bash_app(lambda word: f"echo {word}")
    assert bare("bare", stdout=out, walltime=SOON, label="x", inputs=[1], outputs=[]).result(timeout=SOON) == 0
    rich = bash_app(lambda *words, **options: f"echo {' '.join((*words, *sorted(options)))}")
    assert rich("a", stdout=out, walltime=SOON, inputs=[], func=1, self=2).result(timeout=SOON) == 0
    assert Path(out).read_text() == "bare\na func inputs self stdout walltime\n"


def test_an_argument_that_it_has_no_parameter_for_fails(kernel: DataFlowKernel) -> None:
    error = failure(bash_app(lambda: "true")(colour="red"))
    assert isinstance(error, TypeError)
    assert "colour" in str(error)


def test_futures_are_arguments(kernel: DataFlowKernel, tmp_path: Path) -> None:
    @bash_app
    def say(words: list[str], inputs: Any = (), stdout: Any = str(tmp_path / "out")) -> str:
        return f"echo {' '.join(words)} {inputs[0]}"

    word = python_app(lambda w: w)
    assert say([word("one"), "two"], inputs=[word("three")]).result(timeout=SOON) == 0
    assert (tmp_path / "out").read_text() == "one two three\n"


@pytest.mark.parametrize("returned", [None, 0, b"true", ["true"]])
def test_what_is_no_command_line_is_refused(kernel: DataFlowKernel, returned: Any) -> None:
    error = failure(bash_app(lambda: returned)())
    assert isinstance(error, BashAppNoReturn)
    assert type(returned).__name__ in str(error)


@pytest.mark.parametrize(("cause", "text"), [(AttributeError, "{0.no}"), (IndexError, "{1}")])
def test_a_format_that_does_not_fit_its_arguments(kernel: DataFlowKernel, cause: type, text: str) -> None:
    error = failure(bash_app(text.format)(0))
    assert isinstance(error, AppBadFormatting)
    assert isinstance(error.__cause__, cause)


def test_other_errors_of_the_function_come_through(kernel: DataFlowKernel) -> None:
    assert isinstance(failure(bash_app(lambda: {}["no"])()), KeyError)


@pytest.mark.parametrize("command", ["echo a\0b", "echo " + "x" * 3_000_000])
def test_a_command_line_that_cannot_be_run_at_all(kernel: DataFlowKernel, command: str) -> None:
    assert isinstance(failure(run(command)), (OSError, ValueError))
    assert run("true").result(timeout=SOON) == 0


def test_the_app_keeps_the_functions_name(kernel: DataFlowKernel) -> None:
    assert isinstance(run, BashApp)
    future = run("true")
    assert future.task_record["func_name"] == "run"
    assert future.task_record["func"].__name__ == "run"
    assert future.result(timeout=SOON) == 0


def test_the_worker_side_can_be_called_alone(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert remote_side_bash_executor(lambda x: f"echo {x}", "alone", stdout=out) == 0
    assert Path(out).read_text() == "alone\n"


# -- standard streams -------------------------------------------------------------------------------------------------


class BytesPath:
    """A path whose file system path is bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


@pytest.mark.parametrize(
    "form", [str, Path, BytesPath, lambda p: (str(p), "a"), lambda p: (p, "a+"), lambda p: (p, "ab")]
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_forms_of_a_stream_that_append(kernel: DataFlowKernel, tmp_path: Path, form: Any, stream: str) -> None:
    path = tmp_path / "new folder" / "file"
    given = form(path)
    for word in ("one", "two"):
        future = run(f"echo {word} >&{1 if stream == 'stdout' else 2}", **{stream: given})
        assert getattr(future, stream) is given
        assert future.result(timeout=SOON) == 0
    assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize("mode", ["w", "wt", "w+", "wb"])
def test_a_mode_may_ask_for_a_new_file(kernel: DataFlowKernel, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    assert run("echo new", stdout=(str(path), mode)).result(timeout=SOON) == 0
    assert path.read_text() == "new\n"


def test_a_file_is_a_stream_to_wait_for(kernel: DataFlowKernel, tmp_path: Path) -> None:
    file = File(str(tmp_path / "out"))
    future = run("echo filed", stdout=file)
    assert isinstance(future.stdout, DataFuture)
    assert future.stdout.result(timeout=SOON) is file
    assert (tmp_path / "out").read_text() == "filed\n"
    assert future.stderr is None


def test_both_streams_may_share_a_file(kernel: DataFlowKernel, tmp_path: Path) -> None:
    path = str(tmp_path / "both")
    assert run("echo 1; echo 2 >&2; echo 3", stdout=(path, "w"), stderr=(path, "w")).result(timeout=SOON) == 0
    assert Path(path).read_text() == "1\n2\n3\n"


@pytest.mark.parametrize(
    "bad",
    [3, 2.5, ["x"], ("x",), ("x", "w", "more"), ("x", 3), ("x", "r"), ("x", "q"), (3, "w"), b"bytes", object()],
    ids=repr,
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_bad_form_is_refused_before_anything_runs(
    kernel: DataFlowKernel, tmp_path: Path, bad: Any, stream: str
) -> None:
    mark = tmp_path / "ran"
    error = failure(run(f"touch {mark}", **{stream: bad}))
    assert isinstance(error, BadStdStreamFile)
    assert stream in str(error)
    assert not mark.exists()


def test_a_file_that_cannot_be_opened(kernel: DataFlowKernel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    mark = tmp_path / "ran"
    for bad in (str(tmp_path), str(tmp_path / "file" / "below"), "nul\0byte"):
        error = failure(run(f"touch {mark}", stdout=str(tmp_path / "out"), stderr=bad))
        assert isinstance(error, BadStdStreamFile)
        assert "stderr" in str(error)
    assert not mark.exists()


# -- walltime ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes by their descriptors")
def test_walltime_kills_the_command_and_all_that_it_started(kernel: DataFlowKernel, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pids")
    with contextlib.ExitStack() as stack:
        # Open at both ends, so neither side waits for the other.
        pipe = os.open(tmp_path / "pids", os.O_RDWR)
        stack.callback(os.close, pipe)
        future = run(f"sleep 1000 & echo $$ $! > {tmp_path}/pids; (sleep 1001; true)", walltime=1)
        assert select.select([pipe], [], [], SOON)[0]
        for pid in os.read(pipe, 100).split():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(int(pid))
                stack.callback(os.close, descriptor)
                assert select.select([descriptor], [], [], SOON)[0], f"process {pid} lives on"
    error = failure(future)
    assert isinstance(error, AppTimeout)
    assert "walltime of 1 s" in str(error)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes by their descriptors")
def test_walltime_kills_what_has_left_the_session_of_the_command(kernel: DataFlowKernel, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pids")
    with contextlib.ExitStack() as stack:
        pipe = os.open(tmp_path / "pids", os.O_RDWR)
        stack.callback(os.close, pipe)
        # A daemon: its parents have ended, and it leads a session of its own.
        daemon = f"setsid bash -c 'echo $$ > {tmp_path}/pids; exec sleep 1000'"
        future = run(f"({daemon} </dev/null >/dev/null 2>&1 &) ; sleep 1001", walltime=1)
        assert select.select([pipe], [], [], SOON)[0]
        descriptor = os.pidfd_open(int(os.read(pipe, 100)))
        stack.callback(os.close, descriptor)
        assert isinstance(failure(future), AppTimeout)
        assert select.select([descriptor], [], [], SOON)[0], "the daemon lives on"


@pytest.mark.parametrize("mpi", [True, False], ids=["a launcher of ranks", "anything else"])
def test_what_launches_ranks_may_end_them_before_it_is_killed(tmp_path: Path, monkeypatch: Any, mpi: bool) -> None:
    if mpi:
        monkeypatch.setenv("PARSL_MPI_PREFIX", "mpiexec")
    script = tmp_path / "launcher"
    script.write_text(f"trap 'echo told > {tmp_path}/mark; exit' TERM\nsleep 1000 &\necho up\nwait\n")
    process = subprocess.Popen(
        ["/bin/bash", "-c", f"/bin/bash {script}; true"], stdout=subprocess.PIPE, start_new_session=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        bash_command._kill(process, {"PARSL_BASH_COMMAND_OF_NOBODY": "1"})
    assert (tmp_path / "mark").exists() == mpi


def test_a_launcher_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PARSL_MPI_PREFIX", "mpiexec")
    monkeypatch.setattr(bash_command, "_LAUNCHER_SECONDS", 0.1)
    command = ["/bin/bash", "-c", "trap '' TERM; sleep 1000 & echo up; wait; wait"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        bash_command._kill(process, {"PARSL_BASH_COMMAND_OF_NOBODY": "1"})
        bash_command._kill(process, {"PARSL_BASH_COMMAND_OF_NOBODY": "1"})
    assert process.returncode == -9


def test_walltime_as_a_default_and_one_that_is_enough(kernel: DataFlowKernel) -> None:
    slow = bash_app(lambda walltime=0.1: "sleep 1000")
    assert isinstance(failure(slow()), AppTimeout)
    assert run("true", walltime=SOON).result(timeout=SOON) == 0
    assert run("exit 4", walltime=SOON).exception(timeout=SOON).exitcode == 4  # type: ignore[union-attr]


def test_a_walltime_that_is_no_number_fails_and_leaves_no_process(kernel: DataFlowKernel) -> None:
    assert isinstance(failure(run("sleep 1000", walltime="soon")), TypeError)


def test_output_before_the_end_of_the_time_is_kept(kernel: DataFlowKernel, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert isinstance(failure(run("echo begun; sleep 1000", stdout=out, walltime=0.3)), AppTimeout)
    assert Path(out).read_text() == "begun\n"


# -- outputs ----------------------------------------------------------------------------------------------------------


def test_outputs_must_be_there_at_the_end(kernel: DataFlowKernel, tmp_path: Path) -> None:
    make = bash_app(lambda names, outputs=(): "; ".join(f"touch {n}" for n in names))
    made, missing = str(tmp_path / "made"), str(tmp_path / "missing")
    future = make([made], outputs=[File(made), File(missing), missing])
    error = failure(future)
    assert isinstance(error, MissingOutputs)
    assert [os.fspath(o) for o in error.outputs] == [missing, missing]
    assert missing in str(error)
    for output in future.outputs:
        assert output.exception(timeout=SOON) is error
    assert make([made], outputs=[File(made)]).result(timeout=SOON) == 0


def test_outputs_may_be_folders(kernel: DataFlowKernel, tmp_path: Path) -> None:
    app = bash_app(lambda command, outputs=(): command)
    empty, full, never = (tmp_path / name for name in ("empty", "full", "never"))
    future = app(f"mkdir {empty} {full}; touch {full}/x", outputs=[File(empty), str(full), f"{full}/"])
    assert future.result(timeout=SOON) == 0
    assert [output.result(timeout=SOON).filepath for output in future.outputs] == [str(empty), str(full), f"{full}/"]
    error = failure(app("true", outputs=[full, never, File(f"{never}/"), f"{full}/x/"]))
    assert isinstance(error, MissingOutputs)
    # What ends in / has to be a folder.
    assert [os.fspath(o) for o in error.outputs] == [str(never), f"{never}/", f"{full}/x/"]


def test_outputs_that_are_no_paths_here_are_not_looked_for(kernel: DataFlowKernel) -> None:
    app = bash_app(lambda outputs=(): "true")
    far = File("http://host/x")
    assert app(outputs=[3, None, far], _parsl_staging_inhibit=True).result(timeout=SOON) == 0


def test_a_failure_comes_before_missing_outputs(kernel: DataFlowKernel, tmp_path: Path) -> None:
    app = bash_app(lambda outputs=(): "exit 2")
    assert isinstance(failure(app(outputs=[File(str(tmp_path / "x"))])), BashExitFailure)


def test_bash_apps_run_at_the_same_time(kernel: DataFlowKernel, tmp_path: Path) -> None:
    """Two commands that wait for each other through two pipes."""
    for name in ("a", "b"):
        os.mkfifo(tmp_path / name)
    first = run(f"echo x > {tmp_path}/a; read y < {tmp_path}/b")
    second = run(f"read y < {tmp_path}/a; echo x > {tmp_path}/b")
    assert (first.result(timeout=SOON), second.result(timeout=SOON)) == (0, 0)
    assert threading.active_count() < 20
