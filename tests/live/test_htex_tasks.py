"""Tasks of all kinds on worker processes: values, files, errors, and what is told of them."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from concurrent.futures import CancelledError

import psutil
import pytest

import parsl
from parsl.app.app import bash_app, join_app, python_app
from parsl.app.errors import AppTimeout, BashExitFailure, MissingOutputs
from parsl.data_provider.files import File
from parsl.executors.errors import InvalidResourceSpecification
from tests.live import pilot


@pytest.fixture(scope="module")
def dfk(tmp_path_factory):
    with pilot.kernel(tmp_path_factory.mktemp("tasks"), internal_tasks_max_threads=1) as kernel:
        warm = join_app(lambda future: future, data_flow_kernel=kernel)(python_app(int, data_flow_kernel=kernel)())
        ended = threading.Event()
        # The threads for joins and callbacks then belong to the module and not to the first test that needs them.
        warm.add_done_callback(lambda _: ended.set())
        assert ended.wait(pilot.SOON)
        pilot.ready(kernel.executors["htex"])
        yield kernel


@pytest.fixture(scope="module")
def executor(dfk):
    return dfk.executors["htex"]


# -- values ------------------------------------------------------------------------------------------------------------


def test_a_thousand_mixed_tasks_end_as_they_should(dfk):
    def power(x, n=2):
        return x**n

    def fail(x):
        raise ValueError(f"no {x}")

    async def wait(x):
        await asyncio.sleep(0)
        return -x

    def echo(x):
        return f"test {x} -lt 500"

    @join_app(data_flow_kernel=dfk)
    def both(x):
        return [powers(x), powers(x, n=3)]

    powers, fails, waits = (python_app(f, data_flow_kernel=dfk) for f in (power, fail, wait))
    echoes = bash_app(echo, data_flow_kernel=dfk)
    kinds = {
        "power": (powers, lambda x: x**2),
        "wait": (waits, lambda x: -x),
        "fail": (fails, lambda x: ValueError),
        "both": (both, lambda x: [x**2, x**3]),
        "after": (lambda x: powers(powers(x)), lambda x: x**4),
    }
    rng = random.Random(1)
    calls = [(rng.choice(list(kinds)), x) for x in range(1000)]
    futures = [kinds[kind][0](x) for kind, x in calls]
    shells = [echoes(x) for x in range(480, 520)]
    for (kind, x), future in zip(calls, futures, strict=True):
        expected = kinds[kind][1](x)
        if expected is ValueError:
            assert str(future.exception(pilot.SOON)) == f"no {x}"
        else:
            assert future.result(pilot.SOON) == expected
    codes = [s.exception(pilot.SOON) and s.exception().exitcode for s in shells]
    assert codes == [None] * 20 + [1] * 20
    assert dfk.executors["htex"].outstanding() == 0
    assert not dfk.tasks


def test_each_result_is_a_fresh_object(dfk):
    @python_app(data_flow_kernel=dfk)
    def table():
        return {"a": [1, 2]}

    first, second = table().result(pilot.SOON), table().result(pilot.SOON)
    assert first == second
    assert first is not second
    assert first["a"] is not second["a"]


def test_futures_in_default_arguments_are_waited_for(dfk):
    @python_app(data_flow_kernel=dfk)
    def number(x):
        return x

    @python_app(data_flow_kernel=dfk)
    def total(inputs=[number(1), number(2)]):  # noqa: B006, B008
        return sum(inputs)

    @bash_app(data_flow_kernel=dfk)
    def check(inputs=[number(1), number(2)]):  # noqa: B006, B008
        return f"exit {inputs[0] + inputs[1]}"

    assert total().result(pilot.SOON) == 3
    assert check().exception(pilot.SOON).exitcode == 3


class Stubborn:
    """Refuses to be compared, as tables and arrays do."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        raise ValueError("the truth value is ambiguous")

    __hash__ = None

    def __bool__(self):
        raise ValueError("the truth value is ambiguous")


def test_an_object_that_refuses_to_be_compared_passes_as_argument_default_and_result(dfk):
    @python_app(data_flow_kernel=dfk)
    def add(a, b=Stubborn(2), *, inputs=()):  # noqa: B008
        return [Stubborn(a.value + b.value + inputs[0].value), {"k": a}]

    first, second = add(Stubborn(1), inputs=[Stubborn(4)]).result(pilot.SOON)
    assert (first.value, second["k"].value) == (7, 1)


def test_the_workers_know_who_they_are(dfk, executor):
    @python_app(data_flow_kernel=dfk)
    def me():
        return {k: v for k, v in os.environ.items() if k.startswith("PARSL_WORKER")}, os.getpid(), os.getppid()

    (environment, pid, parent), manager = me().result(pilot.SOON), executor.connected_managers()[0]
    rank = [w.pid for w in pilot.workers_of(executor)].index(pid)
    assert environment["PARSL_WORKER_RANK"] == str(rank)
    assert environment["PARSL_WORKER_COUNT"] == "2"
    assert environment["PARSL_WORKER_POOL_ID"] == manager["manager"]
    assert environment["PARSL_WORKER_BLOCK_ID"] == "0"
    assert parent == manager["process_id"]


# -- bash, files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 15", 15), ("{not_executable}", 126), ("no-such-program-here", 127), ("echo $((1/0))", 1)],
)
def test_exit_codes_come_through_unchanged(dfk, tmp_path, command, code):
    (tmp_path / "plain").write_text("echo not to be run\n")

    @bash_app(data_flow_kernel=dfk)
    def run(command, stderr=None):
        return command

    line = command.format(not_executable=tmp_path / "plain") if "{not" in command else command
    failure = run(line, stderr=str(tmp_path / "err")).exception(pilot.SOON)
    assert isinstance(failure, BashExitFailure)
    assert failure.exitcode == code
    assert (failure.command, failure.stderr_path) == (line, str(tmp_path / "err"))
    assert failure.app_name == "run"
    if code != 15:
        assert failure.stderr_tail
        assert failure.stderr_tail.strip() in str(failure)


def test_standard_streams_go_to_files(dfk, tmp_path):
    @bash_app(data_flow_kernel=dfk)
    def say(word, stdout=None, stderr=None):
        return f"echo {word}; echo not {word} >&2"

    out, err = tmp_path / "new" / "folder" / "out", tmp_path / "err"
    future = say("red", stdout=str(out), stderr=(str(err), "w"))
    assert future.result(pilot.SOON) == 0
    assert future.stdout == str(out)
    assert say("blue", stdout=out, stderr=(str(err), "w")).result(pilot.SOON) == 0
    assert out.read_text() == "red\nblue\n"
    assert err.read_text() == "not blue\n"


def test_a_name_for_the_log_is_found_for_each_task(dfk):
    @bash_app(data_flow_kernel=dfk)
    def say(word, stdout=parsl.AUTO_LOGNAME):
        return f"echo {word}"

    futures = [say(word) for word in ("one", "two")]
    assert [f.result(pilot.SOON) for f in futures] == [0, 0]
    for future, word in zip(futures, ("one", "two"), strict=True):
        assert os.path.basename(future.stdout) == f"task_{future.tid:04d}_say.stdout"
        with open(future.stdout) as file:
            assert file.read() == f"{word}\n"


def test_files_go_in_and_come_out(dfk, tmp_path):
    @bash_app(data_flow_kernel=dfk)
    def sort(inputs=(), outputs=()):
        return f"sort {inputs[0]} > {outputs[0]}"

    @python_app(data_flow_kernel=dfk)
    def lines(inputs=()):
        with open(inputs[0]) as file:
            return file.read().split()

    (tmp_path / "in").write_text("c\na\nb\n")
    output = File(str(tmp_path / "sorted"))
    future = sort(inputs=[File(str(tmp_path / "in"))], outputs=[output])
    assert lines(inputs=[future.outputs[0]]).result(pilot.SOON) == ["a", "b", "c"]
    assert future.outputs[0].result(pilot.SOON) is output


def test_an_output_that_was_not_made_is_named(dfk, tmp_path):
    @bash_app(data_flow_kernel=dfk)
    def nothing(outputs=()):
        return "true"

    failure = nothing(outputs=[File(str(tmp_path / "absent"))]).exception(pilot.SOON)
    assert isinstance(failure, MissingOutputs)
    assert "absent" in str(failure)


def test_walltime_kills_a_command_with_all_it_started(dfk, tmp_path):
    @bash_app(data_flow_kernel=dfk)
    def slow(path, walltime=0.5):
        return f"(sleep 300 & echo $! > {path}; wait) & wait"

    assert isinstance(slow(tmp_path / "pid").exception(pilot.SOON), AppTimeout)
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or not pilot.still_there([psutil.Process(pid)], pilot.SOON)


def test_walltime_ends_a_busy_function_and_the_worker_goes_on(dfk, executor):
    @python_app(data_flow_kernel=dfk)
    def spin(walltime=0.2):
        while True:
            pass

    @python_app(data_flow_kernel=dfk)
    def rest(seconds, walltime=0.2):
        time.sleep(seconds)
        return "rested"

    before = pilot.workers_of(executor)
    ends = [spin(), rest(60), rest(0.01)]
    assert [type(e.exception(pilot.SOON)) for e in ends] == [AppTimeout, AppTimeout, type(None)]
    assert ends[0].task_record["func_name"] == "spin"
    # The alarm of an app that ended in time must not hit a later one on its worker.
    assert [rest(0.3, walltime=60).result(pilot.SOON) for _ in range(2)] == ["rested"] * 2
    assert pilot.workers_of(executor) == before


# -- cancel, priorities ------------------------------------------------------------------------------------------------


def test_queued_tasks_can_be_cancelled_and_running_ones(tmp_path, gate):
    with pilot.kernel(tmp_path) as kernel:
        wait = python_app(pilot.wait_at, data_flow_kernel=kernel)
        running = [wait(gate.path) for _ in range(2)]
        pilot.wait_for(lambda: pilot.running(kernel.executors["htex"], 2))
        queued = [wait(gate.path) for _ in range(5)]
        assert [q.cancel() for q in queued[1:4]] == [True] * 3
        assert all(q.cancelled() for q in queued[1:4])
        with pytest.raises(CancelledError):
            queued[1].result(pilot.SOON)
        assert running[0].cancel() is True
        gate.let(3)
        assert all(f.result(pilot.SOON) for f in [running[1], queued[0], queued[4]])
        assert running[1].cancel() is False


def test_an_unknown_resource_is_refused_in_the_future(dfk):
    @python_app(data_flow_kernel=dfk)
    def any_app(parsl_resource_specification=None):
        return 1

    error = any_app(parsl_resource_specification={"cores": 2}).exception(pilot.SOON)
    assert isinstance(error, InvalidResourceSpecification)
    assert "cores" in str(error)
    error = any_app(parsl_resource_specification={"priority": "high"}).exception(pilot.SOON)
    assert isinstance(error, InvalidResourceSpecification)
    assert any_app(parsl_resource_specification={"priority": -1}).result(pilot.SOON) == 1
