"""The shell commands of tasks, run by a shell."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from parsl.executors.cctools_command import command_line, coprocess_command


def said(command: str, folder: Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() or done.stderr.strip()


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make a folder with a program python3 that tells its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").write_text('#!/bin/sh\necho other "$@"\n')
    (folder / "python3").chmod(0o755)
    return folder


MODULE = "platform"


def test_the_script_s_own_interpreter_runs_where_it_is_there(tmp_path: Path, other: Path) -> None:
    path = f"{other}:{os.environ['PATH']}"
    assert not said(command_line(module=MODULE), tmp_path, PATH=path).startswith("other")


def test_elsewhere_the_one_that_is_found(tmp_path: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    path = f"{other}:{os.environ['PATH']}"
    assert said(command_line(module=MODULE), tmp_path, PATH=path) == f"other -m {MODULE}"


def test_an_init_command_that_brings_another_python_has_its_way(tmp_path: Path, other: Path) -> None:
    command = command_line(f"export PATH={other}:$PATH", module=MODULE)
    assert said(command, tmp_path) == f"other -m {MODULE}"


def test_one_that_does_not_leaves_the_interpreter(tmp_path: Path) -> None:
    command = command_line("export WORD=here", module=MODULE)
    assert not said(command, tmp_path).startswith("other")
    assert command_line("   ", module=MODULE) == command_line(module=MODULE)


def test_a_packed_environment_is_entered(tmp_path: Path) -> None:
    runner = tmp_path / "poncho_package_run"
    runner.write_text('#!/bin/sh\necho "$WORD" "$@"\n')
    runner.chmod(0o755)
    command = command_line("export WORD=first", packed=True, module=MODULE)
    assert said(command, tmp_path) == f"first -e environment.tar.gz python3 -m {MODULE}"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="sockets cannot be told apart here")
@pytest.mark.parametrize("warm", ["", "word"])
@pytest.mark.parametrize("init_command", ["", "true"])
def test_the_worker_s_connection_is_let_go_of_and_all_else_kept(tmp_path: Path, warm: str, init_command: str) -> None:
    script = tmp_path / "show.py"
    script.write_text("import os; print(*(n for n in range(3, 10) if os.path.exists(f'/proc/self/fd/{n}')))")
    command = command_line(init_command, warm=warm, module="show")
    ours, workers = socket.socketpair()
    kept, gone = os.open(os.devnull, os.O_RDONLY), workers.fileno()
    try:
        # By a shell, as numbers are its matter; it is the worker, too, with which what is started beside a task ends.
        outer = f"exec 4<&{kept} 5<&{gone}; /bin/sh -c {shlex.quote(command)}; exit $?"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            ["/bin/bash", "-c", outer],
            cwd=tmp_path,
            env=environment,
            pass_fds=[kept, gone],
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(kept)
        ours.close()
        workers.close()
    numbers = done.stdout.split()
    assert "4" in numbers
    assert "5" not in numbers


def test_a_coprocess_is_the_server() -> None:
    assert coprocess_command().endswith("-m parsl.executors.cctools_server --coprocess")
