from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import parsl.launchers
from parsl import launchers as public
from parsl.launchers.base import Launcher
from parsl.launchers.frame import quoted
from parsl.launchers.launchers import (
    AprunLauncher,
    GnuParallelLauncher,
    JsrunLauncher,
    MpiExecLauncher,
    MpiRunLauncher,
    SimpleLauncher,
    SingleNodeLauncher,
    SrunLauncher,
    SrunMPILauncher,
    WrappedLauncher,
)
from parsl.representation import RepresentationMixin

# Stands in for srun, mpiexec and so on: notes its arguments, and runs the command as often as they say. Like ssh,
# `parallel` gives the command another working directory and next to no environment.
FAKE_STARTER = r"""
import json, os, subprocess, sys
name, argv = os.path.basename(sys.argv[0]), sys.argv[1:]
record = os.environ["FAKE_RECORD"]
with open(record, "a") as file:
    file.write(json.dumps([name, *argv]) + "\n")
start = next(i for i, arg in enumerate(argv) if os.path.basename(arg) == "bash")
command, copies, env, cwd = argv[start:], 1, dict(os.environ), None
if name == "parallel":
    mark = command.index(":::")
    command, copies = command[:mark], len(command[mark + 1:])
    env, cwd = {"PATH": os.environ["PATH"]}, "/"
else:
    for i, arg in enumerate(argv[:start]):
        if arg in ("-n", "-np"):
            copies = int(argv[i + 1])
        elif arg.startswith("--ntasks="):
            copies = int(arg.partition("=")[2])
running = [subprocess.Popen(command, env={**env, "FAKE_RANK": str(i)}, cwd=cwd) for i in range(copies)]
sys.exit(max(process.wait() for process in running))
"""

STARTERS = ["srun", "aprun", "jsrun", "mpiexec", "mpirun", "parallel"]


class Site:
    """A folder with fake starters, a node file, and a place to run scripts in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bin = path / "bin"
        self.cwd = path / "work dir"
        self.record = path / "record"
        self.nodes = path / "nodes"
        self.bin.mkdir()
        self.cwd.mkdir()
        self.nodes.write_text("node1\nnode1\nnode2\nnode2\n")
        for name in STARTERS:
            starter = self.bin / name
            starter.write_text(f"#!{sys.executable}\n{FAKE_STARTER}")
            starter.chmod(0o755)

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "FAKE_RECORD": str(self.record)}
        env |= {"PBS_NODEFILE": str(self.nodes)} | environment
        path = self.path / "block.sh"
        path.write_text(script)
        return subprocess.run(
            ["bash", path], env=env, cwd=self.cwd, capture_output=True, text=True, timeout=60, check=False
        )

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.record.read_text().splitlines()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


ALL: list[Launcher] = [
    SimpleLauncher(),
    SingleNodeLauncher(),
    SrunLauncher(),
    SrunMPILauncher(),
    AprunLauncher(),
    JsrunLauncher(),
    MpiExecLauncher(),
    MpiRunLauncher(),
    GnuParallelLauncher(),
    WrappedLauncher("env"),
]
FRAMED = [launcher for launcher in ALL if not isinstance(launcher, (SimpleLauncher, WrappedLauncher))]
STARTING = [launcher for launcher in FRAMED if not isinstance(launcher, SingleNodeLauncher)]


def by_name(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, Launcher) else None


def test_all_ten_are_exported() -> None:
    assert {type(launcher).__name__ for launcher in ALL} == set(public.__all__)
    for launcher in ALL:
        assert getattr(parsl.launchers, type(launcher).__name__) is type(launcher)


@pytest.mark.parametrize("launcher", ALL, ids=by_name)
def test_command_runs_and_its_exit_code_is_the_blocks(launcher: Launcher, site: Site) -> None:
    done = site.run(launcher("bash -c 'echo it ran; exit 23'", 1, 1))
    assert done.stdout.splitlines() == ["it ran"]
    assert done.returncode == 23


@pytest.mark.parametrize("launcher", ALL, ids=by_name)
def test_success_is_exit_code_0(launcher: Launcher, site: Site) -> None:
    assert site.run(launcher("true", 1, 1)).returncode == 0


@pytest.mark.parametrize("launcher", FRAMED, ids=by_name)
def test_as_many_copies_as_asked_for(launcher: Launcher, site: Site) -> None:
    nodes = 1 if isinstance(launcher, SingleNodeLauncher) else 2
    done = site.run(launcher("echo copy", 3, nodes))
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["copy"] * 3 * nodes


@pytest.mark.parametrize("launcher", STARTING, ids=by_name)
def test_one_failed_rank_fails_the_block(launcher: Launcher, site: Site) -> None:
    fail_once = 'if mkdir "$MARK" 2>/dev/null; then exit 9; fi'
    script = f"export MARK={shlex.quote(str(site.path / 'mark'))}\n{launcher(fail_once, 2, 2)}"
    assert site.run(script).returncode == 9


@pytest.mark.parametrize("launcher", STARTING, ids=by_name)
def test_a_starter_that_is_not_there_fails_the_block(launcher: Launcher, site: Site) -> None:
    for name in STARTERS:
        starter = site.bin / name
        starter.unlink()
        if shutil.which(name):  # this machine has a real one, which must not be found
            starter.write_text("#!/bin/sh\nexit 127\n")
            starter.chmod(0o755)
    done = site.run(launcher("echo it ran", 1, 1))
    assert done.returncode == 127
    assert "it ran" not in done.stdout


@pytest.mark.parametrize("launcher", ALL, ids=by_name)
@pytest.mark.parametrize(("tasks", "nodes"), [(0, 1), (1, 0), (-1, -1)])
def test_no_tasks_or_nodes_are_refused(launcher: Launcher, tasks: int, nodes: int) -> None:
    with pytest.raises(ValueError, match=f"got {tasks} tasks on {nodes}"):
        launcher("true", tasks, nodes)


@pytest.mark.parametrize("launcher", FRAMED, ids=by_name)
def test_an_empty_command_is_refused(launcher: Launcher) -> None:
    with pytest.raises(ValueError, match="empty"):
        launcher(" \n", 1, 1)


# The launch lines, one launcher at a time


def launch_calls(site: Site, launcher: Callable[[str, int, int], str]) -> list[list[str]]:
    assert site.run(launcher("true", 2, 2)).returncode == 0
    calls = site.calls()
    return [[re.sub(r"^.*cmd_.*\.sh$", "FILE", arg) for arg in call] for call in calls]


def test_srun(site: Site) -> None:
    (call,) = launch_calls(site, SrunLauncher(overrides="-K0 --slurmd-debug=verbose"))
    assert call == [
        "srun",
        "--ntasks=4",
        "--ntasks-per-node=2",
        "--label",
        "-K0",
        "--slurmd-debug=verbose",
        "bash",
        "FILE",
    ]


def test_srun_mpi_makes_a_step_for_each_copy_on_its_node(site: Site) -> None:
    calls = launch_calls(site, SrunMPILauncher(overrides="--mem=0"))
    expected = [f"srun --nodes=1 --ntasks=1 --relative={i} --overlap --mem=0 bash FILE".split() for i in (0, 0, 1, 1)]
    assert sorted(calls) == expected


def test_aprun(site: Site) -> None:
    assert launch_calls(site, AprunLauncher(overrides="-cc none")) == [
        ["aprun", "-n", "4", "-N", "2", "-cc", "none", "bash", "FILE"]
    ]


def test_jsrun(site: Site) -> None:
    assert launch_calls(site, JsrunLauncher(overrides="-b rs")) == [
        ["jsrun", "-n", "4", "-r", "2", "-b", "rs", "bash", "FILE"]
    ]


def test_mpiexec_takes_each_node_as_often_as_it_has_tasks(site: Site) -> None:
    (call,) = launch_calls(site, MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=8"))
    hosts = call.pop(call.index("--hostfile") + 1)
    assert call == ["mpiexec", "--cpu-bind", "none", "-n", "4", "--hostfile", "--depth=8", "bash", "FILE"]
    assert (site.cwd / hosts).read_text().split() == ["node1", "node1", "node2", "node2"]


def test_mpiexec_without_a_node_file_leaves_nodes_to_mpiexec(site: Site) -> None:
    assert site.run(MpiExecLauncher()("true", 1, 3), PBS_NODEFILE="").returncode == 0
    ((*line, _file),) = site.calls()
    assert line == ["mpiexec", "--bind-to", "none", "-n", "3", "bash"]


def test_mpirun(site: Site) -> None:
    bash = site.bin / "bash"
    bash.symlink_to("/bin/bash")
    calls = launch_calls(site, MpiRunLauncher(bash_location=str(bash), overrides="--map-by ppr:2:node"))
    assert calls == [["mpirun", "-np", "4", "--map-by", "ppr:2:node", str(bash), "FILE"]]


def test_gnu_parallel(site: Site) -> None:
    (call,) = launch_calls(site, GnuParallelLauncher())
    hosts = call.pop(call.index("--sshloginfile") + 1)
    options = ["--will-cite", "--quote", "--line-buffer", "--tagstring", "{#}", "--sshloginfile", "--jobs", "2"]
    assert call == ["parallel", *options, "--max-replace-args=0", "bash", "FILE", ":::", "0", "1", "2", "3"]
    assert Path(hosts).read_text().split() == ["node1", "node2"]


def test_gnu_parallel_without_a_node_file_says_what_is_missing(site: Site) -> None:
    done = site.run(GnuParallelLauncher()("echo it ran", 1, 1), PBS_NODEFILE="")
    assert done.returncode == 1
    assert "GnuParallelLauncher needs PBS_NODEFILE" in done.stderr
    assert done.stdout == ""


def test_gnu_parallel_takes_environment_and_working_directory_along(site: Site) -> None:
    value = "a 'b' \"c\" $d\ne"
    script = GnuParallelLauncher()('printf %s "$FROM_INIT"; printf %s "$PWD"', 1, 1)
    done = site.run(f"export FROM_INIT={shlex.quote(value)}\n{script}")
    assert done.stdout == value + str(site.cwd)
    (file,) = site.cwd.glob("cmd_*.sh")
    assert file.stat().st_mode & 0o077 == 0


# Single node


@pytest.mark.parametrize(
    ("fail_on_any", "codes", "expected"),
    [
        (False, "0 0", 0),
        (False, "3 0", 0),
        (False, "0 3", 0),
        (False, "3 4", 3),
        (True, "0 0", 0),
        (True, "3 0", 3),
        (True, "0 3", 3),
        (True, "4 3", 4),
    ],
)
def test_fail_on_any(site: Site, fail_on_any: bool, codes: str, expected: int) -> None:
    launcher = SingleNodeLauncher(fail_on_any=fail_on_any)
    command = f'set -- {codes}; if [[ $_parsl_copy == 2 ]]; then exit "$2"; fi; exit "$1"'
    assert site.run(launcher(command, 2, 1)).returncode == expected


def test_a_copy_ended_by_a_signal_gives_128_and_the_signal(site: Site) -> None:
    assert site.run(SingleNodeLauncher()("kill -9 $BASHPID", 1, 1)).returncode == 137


def test_worker_init_with_set_e_does_not_change_the_rule(site: Site) -> None:
    script = "set -eu\n" + SingleNodeLauncher()("if [[ $_parsl_copy == 1 ]]; then exit 5; fi; echo second", 2, 1)
    done = site.run(script)
    assert (done.returncode, done.stdout) == (0, "second\n")


def test_commands_do_not_ignore_the_keyboard_interrupt(site: Site) -> None:
    # Background commands of a script do, and hand that down to all that they start.
    check = f"{shlex.quote(sys.executable)} -c 'import signal; print(signal.getsignal(signal.SIGINT))'"
    assert "default_int_handler" in site.run(SingleNodeLauncher()(check, 1, 1)).stdout


def test_cores_is_set(site: Site) -> None:
    assert int(site.run(SingleNodeLauncher()("printenv CORES", 1, 1)).stdout) >= 1


def test_variables_of_the_user_reach_the_command_unchanged(site: Site) -> None:
    names = ["RANK", "PIDS", "CODE", "COPIES", "i", "CMD"]
    script = SingleNodeLauncher()("printenv " + " ".join(names), 1, 1)
    assert site.run(script, **{name: f"my {name}" for name in names}).stdout.split("\n")[:-1] == [
        f"my {n}" for n in names
    ]


def test_a_command_may_end_in_backslash_or_comment(site: Site) -> None:
    assert site.run(SingleNodeLauncher()("echo a \\", 1, 1)).stdout == "a\n"
    assert site.run(SingleNodeLauncher()("echo b # so", 1, 1)).stdout == "b\n"


def test_more_nodes_than_one_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    SingleNodeLauncher()("true", 1, 2)
    assert "first of the 2 nodes" in caplog.text


# Simple and wrapped


def test_simple_gives_the_command_back() -> None:
    assert SimpleLauncher()("any 'text'\n", 1, 4) == "any 'text'\n"


@pytest.mark.parametrize("launcher", [SimpleLauncher(), WrappedLauncher("time")], ids=by_name)
def test_one_copy_is_all_that_simple_launchers_do(launcher: Launcher, caplog: pytest.LogCaptureFixture) -> None:
    launcher("true", 1, 2)
    assert caplog.records == []
    assert launcher("true", 3, 1).endswith("true")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{type(launcher).__name__} supports one task per node only: of 3" in caplog.text


def test_prepend_may_be_changed_later() -> None:
    launcher = WrappedLauncher("time")
    assert launcher("cmd --x", 1, 1) == "time cmd --x"
    launcher.prepend = "docker run image"
    assert launcher("cmd --x", 1, 1) == "docker run image cmd --x"


# Where the command file goes


@pytest.mark.parametrize("launcher", STARTING, ids=by_name)
def test_command_file_goes_to_script_dir(launcher: Callable[..., str], site: Site) -> None:
    folder = site.path / 'odd "name" $HOME `id` \\'
    folder.mkdir()
    script = launcher("echo it ran", 1, 1, str(folder))
    assert 'SCRIPT_DIR="' in script
    assert site.run(script).stdout == "it ran\n"
    assert len(list(folder.glob("cmd_*.sh"))) == 1
    assert list(site.cwd.iterdir()) == []


@pytest.mark.parametrize("launcher", STARTING, ids=by_name)
def test_script_dir_may_be_set_by_the_script_around(launcher: Launcher, site: Site) -> None:
    script = launcher("echo it ran", 1, 1)
    assert "${SCRIPT_DIR:+$SCRIPT_DIR/}" in script
    done = site.run(f"SCRIPT_DIR={quoted(str(site.path))}\n{script}")
    assert done.stdout == "it ran\n"
    assert len(list(site.path.glob("cmd_*.sh"))) == 1


def test_a_script_dir_that_is_not_on_the_node_fails_the_block(site: Site) -> None:
    done = site.run(SrunLauncher()("echo it ran", 1, 1, "/no/such/folder"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "script directory /no/such/folder is not there" in done.stderr
    assert not site.record.exists()


def test_a_command_file_that_cannot_be_written_fails_the_block(site: Site) -> None:
    script = f"HOSTNAME=no/such/folder\n{SrunLauncher()('echo it ran', 1, 1)}"
    done = site.run(script)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot write cmd_no/such/folder" in done.stderr


# Debug


@pytest.mark.parametrize("kind", [SingleNodeLauncher, SrunLauncher, MpiExecLauncher, GnuParallelLauncher])
def test_debug_speaks_on_stderr_and_only_then(kind: Callable[..., Launcher], site: Site) -> None:
    loud = site.run(kind(debug=True)("echo it ran", 1, 1))
    assert loud.stdout == "it ran\n"
    assert "parsl: starting 1 of 1" in loud.stderr
    assert "parsl: 0 of 1 failed, exit code 0" in loud.stderr
    quiet = site.run(kind(debug=False)("echo it ran", 1, 1))
    assert (quiet.stdout, quiet.stderr) == ("it ran\n", "")


def test_debug_shows_the_launch_line(site: Site) -> None:
    assert "+ srun --ntasks=1 " in site.run(SrunLauncher()("true", 1, 1)).stderr


# What a launcher is, as an object


@pytest.mark.parametrize(
    ("launcher", "shown"),
    [
        (SimpleLauncher(debug=False), "SimpleLauncher(debug=False)"),
        (SingleNodeLauncher(), "SingleNodeLauncher(debug=True, fail_on_any=False)"),
        (SrunLauncher(overrides="-x"), "SrunLauncher(debug=True, overrides='-x')"),
        (MpiRunLauncher(), "MpiRunLauncher( debug=True, bash_location='/bin/bash', overrides='')"),
        (MpiExecLauncher(bind_cmd="-b"), "MpiExecLauncher(debug=True, bind_cmd='-b', overrides='')"),
        (WrappedLauncher("time"), "WrappedLauncher('time', debug=True)"),
    ],
    ids=by_name,
)
def test_repr_shows_every_parameter(launcher: Launcher, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepresentationMixin, "_validate_repr", True)
    assert "".join(repr(launcher).split()) == "".join(shown.split())


def test_launcher_is_abstract_and_takes_three_arguments() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Launcher()  # type: ignore[abstract]

    class Mine(Launcher):
        def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
            return f"mine {command}"

    assert Mine(debug=False)("x", 1, 1) == "mine x"


# Text passes through untouched

bash_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(text=bash_text)
def test_quoted_text_is_literal(text: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True)
    assert done.stdout.decode() == text


@few
@given(text=bash_text)
def test_commands_pass_unchanged(site: Site, text: str) -> None:
    command = f"printf %s {shlex.quote(text)}"
    for launcher in (SingleNodeLauncher(debug=False), AprunLauncher(debug=False)):
        path = site.path / "verbatim.sh"
        path.write_bytes(launcher(command, 1, 1).encode())
        env = {**os.environ, "PATH": f"{site.bin}:{os.environ['PATH']}", "FAKE_RECORD": os.devnull}
        done = subprocess.run(["bash", path], env=env, cwd=site.cwd, capture_output=True, check=True)
        assert done.stdout.decode() == text


def test_a_command_may_hold_the_mark_that_ends_it(site: Site) -> None:
    command = "cat <<'PARSL_COMMAND'\nPARSL_COMMAND_\nPARSL_COMMAND\necho after"
    assert site.run(SrunLauncher()(command, 1, 1)).stdout == "PARSL_COMMAND_\nafter\n"
