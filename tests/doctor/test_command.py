from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys

import psutil
import pytest

from parsl.doctor import command
from parsl.doctor.command import main, wants_colour, width_of
from parsl.version import VERSION
from tests.doctor.fakes import FakeProbe

HTEX = """
from parsl import Config, HighThroughputExecutor
from parsl.launchers import *
from parsl.providers import *

def make(provider, **options):
    executor = HighThroughputExecutor(
        label="mine", address="127.0.0.1", max_workers_per_node=1, cores_per_worker=0.1, provider=provider, **options
    )
    return Config(executors=[executor], run_dir={run_dir!r})

"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a configuration and return its path."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text):
        path = tmp_path / "mine.py"
        path.write_text(HTEX.replace("{run_dir!r}", repr(str(tmp_path / "runs"))) + text, encoding="utf-8")
        return str(path)

    return write


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "parsl.doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


# -- as users run it ---------------------------------------------------------------------------------------------------


def test_a_sound_configuration(write, tmp_path):
    result = run(write("config = make(LocalProvider(worker_init='export A=1'))"))
    assert (result.returncode, result.stderr) == (0, "")
    shape = re.compile(
        r"""
this host
  ok    Python \S+, parsl \S+, from \S+
  ok    run folder \S+/runs can be written

executor mine: HighThroughputExecutor on LocalProvider
  ok    keys for encrypted connections can be made and read
  ok    ports 54000 to 54999: \d+ is free
  ok    this host reaches itself at 127.0.0.1
  ok    worker_init runs without complaint here
  ok    a block that begins here has the same Python and parsl

one task on each executor
   ..   logs are in \S+/runs/000
(   ..   .* s  mine: block 0 \(job \d+\) (PENDING|RUNNING).*\n)+"""
        r"""  ok    mine: a task ran on \S+ after [\d.]+ s, with the same Python and parsl

8 ok, 0 warnings, 0 failed
"""
    )
    assert shape.fullmatch(result.stdout), result.stdout
    assert os.listdir(tmp_path / "runs") == ["000"]


def test_dry_run_leaves_nothing(write, tmp_path):
    result = run("--dry-run", write("config = make(LocalProvider())"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "one task" not in result.stdout
    assert os.listdir(tmp_path) == ["mine.py"]


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("LocalProvider(worker_init='modul load gcc')", ["FAIL  worker_init complains", "modul: command not found"]),
        ("LocalProvider(launcher=AprunLauncher())", ["FAIL  aprun is not on the PATH", "AprunLauncher"]),
        (
            "LocalProvider(launcher=WrappedLauncher('bash -c \"echo no scratch >&2; exit 4\" --'))",
            ["FAIL  mine: block 0 ended before a task ran", "exit code 4", "no scratch", ".stderr"],
        ),
        ("SlurmProvider(partition='YOUR_PARTITION')", ["FAIL  provider.partition: YOUR_PARTITION still stands here"]),
    ],
    ids=["worker_init", "launcher", "block", "placeholder"],
)
def test_what_is_wrong_is_named(write, provider, words):
    result = run(write(f"config = make({provider})"))
    assert (result.returncode, result.stderr) == (1, "")
    for word in words:
        assert word in result.stdout


def test_json(write):
    result = run("--json", write("config = make(LocalProvider(launcher=AprunLauncher()))"))
    assert (result.returncode, result.stderr) == (1, "")
    document = json.loads(result.stdout)
    assert document["ok"] is False
    (failed,) = [finding for finding in document["findings"] if finding["mark"] == "FAIL"]
    assert failed["check"] == "launcher"
    assert failed["section"] == "executor mine: HighThroughputExecutor on LocalProvider"
    assert document["events"][0]["text"].startswith("mine: not tried")


def test_interrupt_gives_blocks_back(write):
    path = write("config = make(LocalProvider(launcher=WrappedLauncher('sleep 600 #')))")
    arguments = [sys.executable, "-m", "parsl.doctor", path]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        job = next(found for line in process.stdout if (found := re.search(r"block 0 \(job (\d+)\)", line)))
        assert psutil.pid_exists(int(job[1]))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "parsl-doctor: interrupted; blocks are given back\n")
    assert not psutil.pid_exists(int(job[1]))


def test_colours_on_a_terminal(write):
    """Seen through a real terminal, as a pipe would get none."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    arguments = [sys.executable, "-m", "parsl.doctor", "--dry-run", write("config = make(LocalProvider())")]
    with open(ours, "rb", buffering=0) as screen:
        result = subprocess.run(arguments, stdout=theirs, env=environment, timeout=100, check=False)
        os.close(theirs)
        shown = b""
        try:
            while part := screen.read(4096):
                shown += part
        except OSError:  # Linux says so when nobody holds the other end any more
            pass
    assert result.returncode == 0
    assert b"\033[32mok  \033[0m" in shown


# -- in this process ---------------------------------------------------------------------------------------------------


def test_checks_ask_the_probe(write, capsys):
    path = write("config = make(SlurmProvider(partition='x'))")
    assert main(["--dry-run", path], FakeProbe({"sinfo": "y|up|infinite|1"})) == 1
    assert "there is no partition 'x'\n        mend: choose one of: y\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "parsl-doctor: the configuration {} defines neither config nor fresh_config()\n"),
        ("config = make(LocalProvider(walltime=3))", "parsl-doctor: the configuration {} raises TypeError: "),
    ],
)
def test_configuration_that_cannot_be_loaded(write, capsys, text, message):
    path = write(text)
    assert main([path]) == 2
    assert capsys.readouterr().err.startswith(message.format(path))


def test_interrupted(write, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_trial", interrupt)
    assert main([write("config = make(LocalProvider())")], FakeProbe()) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["x", "--timeout", "0"], ["x", "--timeout", "soon"], ["x", "--timeout", "nan"], ["x", "y"]]
)
def test_bad_command_lines(arguments, capsys):
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    assert ending.value.code == 2
    assert "usage: parsl-doctor" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"parsl-doctor {VERSION}\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("columns", "width"), [("70", 70), ("300", 100)])
def test_width(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert (width_of(Terminal()), width_of(io.StringIO())) == (width, 100)


@pytest.mark.parametrize(
    ("out", "environment", "wanted"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_where_colours_are_welcome(out, environment, wanted):
    assert wants_colour(out, environment) is wanted
