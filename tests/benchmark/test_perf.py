from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl import VERSION
from parsl.benchmark import perf
from parsl.benchmark.perf import Batch, main, next_size

THREADS = """
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

def fresh_config():
    return Config(executors=[ThreadPoolExecutor()], run_dir={run_dir!r}, strategy="none")
"""

HTEX = """
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, provider=LocalProvider(max_blocks=1)
        )
    ],
    run_dir={run_dir!r},
    strategy="none",
)
"""

FIGURE = r"(\d+\.\d+)"
BATCH = re.compile(
    rf"==== Iteration (\d+) ====\nWill run (\d+) tasks( to target 1 seconds runtime)?\n"
    rf"Submission took {FIGURE} seconds = {FIGURE} tasks/second\nRuntime: actual {FIGURE}s( vs target 1s)?\n"
    rf"Tasks per second: {FIGURE}\nRound trip of one call: {FIGURE} ms\n"
)


@pytest.fixture
def write(tmp_path):
    """Write a configuration file and return its path."""

    def write(text):
        path = tmp_path / "measured.py"
        path.write_text(text.replace("{run_dir!r}", repr(str(tmp_path / "runs"))), encoding="utf-8")
        return str(path)

    return write


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [THREADS, HTEX], ids=["threads", "htex"])
def test_batches_grow_until_one_takes_the_time(write, capsys, config):
    assert main(["--config", write(config), "--time", "1"]) == 0
    out, err = capsys.readouterr()
    batches = [match.groups() for match in BATCH.finditer(out)]
    assert BATCH.sub("", out) == ""
    assert err == ""
    assert [int(number) for number, *_ in batches] == list(range(1, len(batches) + 1))
    sizes = [int(tasks) for _, tasks, *_ in batches]
    runtimes = [float(batch[5]) for batch in batches]
    assert sizes[0] == 10
    assert sizes == sorted(set(sizes))
    assert [runtime >= 1 for runtime in runtimes] == [False] * (len(batches) - 1) + [True]
    for _, _, _, submission, _, runtime, _, _, round_trip in batches:
        assert 0 <= float(submission) <= float(runtime)
        assert 0 < float(round_trip) < 1000
    assert float(batches[-1][7]) == pytest.approx(sizes[-1] / runtimes[-1], rel=0.01)


@pytest.mark.parametrize("config", [THREADS, HTEX], ids=["threads", "htex"])
def test_given_batches_and_latency(write, capsys, monkeypatch, config):
    monkeypatch.setattr(perf, "_LATENCY_CALLS", 20)
    assert main(["--config", write(config), "--iterate", "5,30,7", "--latency", "--argsize", "100000"]) == 0
    out = capsys.readouterr().out
    latency = re.match(rf"==== Latency ====\n20 calls one after another: p50 {FIGURE} ms, p99 {FIGURE} ms\n", out)
    assert 0 < float(latency[1]) <= float(latency[2])
    rest = out[latency.end() :]
    assert [(m[1], m[2], m[3], m[7]) for m in BATCH.finditer(rest)] == [
        ("1", "5", None, None), ("2", "30", None, None), ("3", "7", None, None)
    ]  # fmt: skip
    assert BATCH.sub("", rest) == ""


def test_latency_takes_no_longer_than_it_may(write, capsys, monkeypatch):
    monkeypatch.setattr(perf, "_LATENCY_SECONDS", 0)
    assert main(["--config", write(THREADS), "--iterate", "1", "--latency"]) == 0
    assert "\n2 calls one after another" in capsys.readouterr().out


def test_resources_go_with_each_task(write, capsys):
    config = write(HTEX)
    assert main(["--config", config, "--iterate", "10", "--resources", "{'priority': 3}"]) == 0
    capsys.readouterr()
    assert main(["--config", config, "--iterate", "10", "--resources", "{'cores': 1}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("parsl-perf: InvalidResourceSpecification: ")
    assert "cores" in err


def test_as_a_command(write, tmp_path):
    command = [sys.executable, "-m", "parsl.benchmark.perf", "--config", write(HTEX), "--iterate", "20"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (run.stderr, run.returncode) == ("", 0)
    assert BATCH.fullmatch(run.stdout)[2] == "20"


def test_the_benchmark_of_the_project(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    config = os.path.join(root, "benchmarks", "htex.py")
    command = [sys.executable, "-m", "parsl.benchmark.perf", "--config", config, "--iterate", "20"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (run.stderr, run.returncode) == ("", 0)
    assert BATCH.fullmatch(run.stdout)


def test_its_own_function_goes_first(write, capsys):
    assert main(["--config", write(THREADS + "\nconfig = 'not looked at'\n"), "--iterate", "1"]) == 0


def test_an_interrupt_ends_it_in_one_line(write, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(perf, "run_batch", interrupted)
    assert main(["--config", write(THREADS)]) == 130
    assert capsys.readouterr().err == "parsl-perf: interrupted\n"


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot read the configuration {}: No such file or directory"),
        ("", "the configuration {} defines neither config nor fresh_config()"),
        ("config = {}", "the configuration {} defines a dict, but a parsl.config.Config is needed"),
        ("def fresh_config(): pass", "the configuration {} defines neither config nor fresh_config()"),
        ("config = Config()", "the configuration {} raises NameError: name 'Config' is not defined"),
        ("fresh_config = 3", "the configuration {} raises TypeError: 'int' object is not callable"),
        ("def", "the configuration {} raises SyntaxError: "),
    ],
)
def test_an_unusable_file_is_told_in_one_line(tmp_path, capsys, text, why):
    path = tmp_path / "measured.py"
    if text is not None:
        path.write_text(text)
    assert main(["--config", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"parsl-perf: {why.format(path)}")
    assert err.count("\n") == 1


def test_a_folder_is_no_file(tmp_path, capsys):
    assert main(["--config", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err


def test_a_kernel_that_cannot_start_is_told_in_one_line(write, tmp_path, capsys):
    (tmp_path / "runs").write_text("not a folder")
    assert main(["--config", write(THREADS)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("parsl-perf: No run folder can be made in ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--config"],
        ["--config", "x", "--time", "0"],
        ["--config", "x", "--time", "-3"],
        ["--config", "x", "--time", "nan"],
        ["--config", "x", "--time", "inf"],
        ["--config", "x", "--time", "soon"],
        ["--config", "x", "--iterate", ""],
        ["--config", "x", "--iterate", "10,0"],
        ["--config", "x", "--iterate", "10;20"],
        ["--config", "x", "--iterate", "10", "--time", "3"],
        ["--config", "x", "--resources", "cores=1"],
        ["--config", "x", "--resources", "[1]"],
        ["--config", "x", "--resources", "open('x')"],
        ["--config", "x", "--argsize", "-1"],
    ],
)
def test_bad_options_end_with_code_2(capsys, options):
    with pytest.raises(SystemExit) as error:
        main(options)
    assert error.value.code == 2
    assert "parsl-perf: error: " in capsys.readouterr().err


def test_the_version(capsys):
    with pytest.raises(SystemExit) as error:
        main(["--version"])
    assert error.value.code == 0
    assert capsys.readouterr().out == f"parsl-perf {VERSION}\n"


# -- sizes -------------------------------------------------------------------------------------------------------------


@given(
    tasks=st.integers(1, 10**7),
    runtime=st.floats(1e-6, 1e4),
    factor=st.floats(1.0001, 1e6),
)
def test_the_next_batch_is_larger_and_lasts_as_long_as_wanted(tasks, runtime, factor):
    target = runtime * factor
    size = next_size(Batch(tasks, 0.0, runtime, 0.0), target)
    assert size > tasks
    assert size * (runtime / tasks) >= target


@pytest.mark.parametrize("text", ["{}", "{'priority': -1.5, 'x': [1, None]}"])
def test_resources_are_read_as_literals(text):
    assert perf.dictionary(text) == eval(text)


def test_a_call_is_no_literal():
    with pytest.raises(argparse.ArgumentTypeError, match="not a dictionary"):
        perf.dictionary("dict(cores=1)")
