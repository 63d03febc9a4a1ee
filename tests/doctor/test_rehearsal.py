from __future__ import annotations

import sys

import pytest

from parsl.doctor.case import Case
from parsl.doctor.probe import HostProbe
from parsl.doctor.rehearsal import (
    check_block_start,
    check_launcher,
    needed_programs,
    read_rehearsal,
    rehearsal_script,
)
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.launchers import (
    AprunLauncher,
    GnuParallelLauncher,
    MpiExecLauncher,
    SimpleLauncher,
    SingleNodeLauncher,
    SrunLauncher,
    WrappedLauncher,
)
from parsl.providers import AWSProvider, KubernetesProvider, LocalProvider, SlurmProvider
from parsl.providers.commands import Answer
from tests.doctor.fakes import SAME, FakeProbe, bad, marks


def case(provider=None, **options):
    return Case(HighThroughputExecutor(provider=provider or LocalProvider(), **options), ".")


def real(worker_init="", launcher=None, **options):
    """Rehearse in a real bash."""
    provider = LocalProvider(worker_init=worker_init, launcher=launcher)
    return list(check_block_start(case(provider, **options), HostProbe()))


# -- in a real bash ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "worker_init",
    [
        "export A=1",
        "echo chatter; echo more >&2",
        "set -euo pipefail",
        "cd /tmp\necho ends in a backslash \\",
        "printf 'init 7\\nmissing everything\\n'",
        "exec 2>/dev/null",
    ],
)
def test_what_works(worker_init):
    assert marks(real(worker_init)) == [("ok", "worker_init"), ("ok", "python")]


def test_nothing_to_say_of_an_empty_worker_init():
    assert marks(real("  ")) == [("ok", "python")]


@pytest.mark.parametrize(
    ("worker_init", "words"),
    [
        ("module_that_is_not_there load x", "module_that_is_not_there: command not found"),
        ("source /nowhere/env/bin/activate", "No such file"),
        ("false", "exit code 1"),
        ("nothing_of_that_name; true", "command not found"),
    ],
)
def test_complaint(worker_init, words):
    (finding,) = bad(real(worker_init))
    assert (finding.mark.value, finding.check) == ("FAIL", "worker_init")
    assert words in finding.reason


@pytest.mark.parametrize(
    ("worker_init", "words"),
    [
        ("echo no >&2; exit 3", "no\nexit code 3"),
        ("if true; then", "syntax error"),
        ("kill -KILL $$", "exit code"),
        ("set -e; false", "exit code 1"),
    ],
)
def test_no_end(worker_init, words):
    (finding,) = real(worker_init)
    assert (finding.mark.value, finding.check) == ("FAIL", "worker_init")
    assert words in finding.reason


def test_python_that_is_spoilt(tmp_path):
    (tmp_path / "zmq.py").write_text("raise ImportError('another zmq')", encoding="utf-8")
    (finding,) = bad(real(f"export PYTHONPATH={tmp_path}"))
    assert (finding.mark.value, finding.check) == ("FAIL", "python")
    assert "another zmq" in finding.reason


def test_launcher_that_is_not_there():
    (finding,) = bad(real(launcher=AprunLauncher()))
    assert finding.text == "aprun is not on the PATH here"
    assert "AprunLauncher" in finding.reason


def test_launcher_that_worker_init_brings():
    assert not bad(real("aprun() { true; }", launcher=AprunLauncher()))
    assert not bad(real(launcher=WrappedLauncher("nice -n 5")))


def test_command_of_the_users_own():
    (finding,) = bad(real(launch_cmd="A=1 my_pool_of_workers.py --port={worker_port}"))
    assert finding.text == "my_pool_of_workers.py is not on the PATH here"
    assert real(launch_cmd="bash -c 'true'")[0].text.startswith("bash found here")


# -- with a fake -------------------------------------------------------------------------------------------------------


def test_a_cluster_gets_a_login_shell_and_warnings():
    probe = FakeProbe(bash=Answer("bash", 0, "init 1\nmissing srun\npython: No module named parsl", "module: no"))
    found = list(check_block_start(case(SlurmProvider(worker_init="x", launcher=SrunLauncher())), probe))
    assert marks(found) == [("warn", "worker_init"), ("warn", "launcher"), ("warn", "python")]
    assert probe.scripts[0][1] is True
    assert "on a node" in found[0].remedy


def test_a_block_of_this_host_gets_no_login_shell():
    probe = FakeProbe()
    list(check_block_start(case(), probe))
    assert probe.scripts[0][1] is False


def test_no_end_on_a_cluster_is_a_failure():
    probe = FakeProbe(bash=Answer("bash -l", None, err="no end within 60 s"))
    (finding,) = check_block_start(case(SlurmProvider(worker_init="read x")), probe)
    assert (finding.mark.value, finding.reason) == ("FAIL", "no end within 60 s")


def test_other_versions():
    probe = FakeProbe(bash=Answer("bash", 0, "init 0\npython: versions 3.9.1 2020.1.1\n"))
    (finding,) = check_block_start(case(), probe)
    assert (finding.mark.value, finding.check) == ("FAIL", "python")
    assert "Python 3.9.1 with parsl 2020.1.1" in finding.text


def test_warnings_of_python_do_not_hide_the_versions():
    assert read_rehearsal(Answer("bash", 0, "python: some warning\n" + SAME)).versions != ()


def test_nothing_is_run_for_threads_and_clouds():
    probe = FakeProbe(bash=AssertionError("no shell"))
    assert not list(check_block_start(Case(ThreadPoolExecutor(), "."), probe))
    kube = case(KubernetesProvider(image="x"))
    (finding,) = check_block_start(kube, probe)
    assert (finding.mark.value, finding.check) == ("warn", "python")
    assert sys.executable in finding.text
    assert not list(check_block_start(case(AWSProvider(image_id="i", key_name="k"), launch_cmd="python3 -m x"), probe))


@pytest.mark.parametrize(
    ("launcher", "programs"),
    [
        (SimpleLauncher(), ()),
        (SrunLauncher(), ("srun",)),
        (MpiExecLauncher(), ("mpiexec",)),
        (GnuParallelLauncher(), ("parallel", "ssh")),
        (WrappedLauncher("singularity exec image.sif"), ("singularity",)),
        (WrappedLauncher('odd "quote'), ("odd",)),
        (type("Own", (SrunLauncher,), {})(), ("srun",)),
        (lambda command, tasks, nodes: command, ()),
    ],
)
def test_programs_of_launchers(launcher, programs):
    assert needed_programs(case(LocalProvider(launcher=launcher))) == programs


def test_programs_of_mpi_tasks():
    executor = type("Mpi", (HighThroughputExecutor,), {"enable_mpi_mode": True, "mpi_launcher": "aprun"})
    assert needed_programs(Case(executor(provider=LocalProvider(launcher=SimpleLauncher())), ".")) == ("aprun",)


def test_names_are_quoted():
    script = rehearsal_script("", ("a b;c",), "/path with space/python")
    assert "command -v 'a b;c'" in script
    assert "'/path with space/python' -c" in script


@pytest.mark.parametrize(
    ("launcher", "nodes", "expected"),
    [
        (SingleNodeLauncher(), 2, [("warn", "launcher")]),
        (SimpleLauncher(), 4, [("warn", "launcher")]),
        (SingleNodeLauncher(), 1, []),
        (SrunLauncher(), 4, []),
    ],
)
def test_nodes_without_use(launcher, nodes, expected):
    assert marks(check_launcher(case(SlurmProvider(nodes_per_block=nodes, launcher=launcher)))) == expected
