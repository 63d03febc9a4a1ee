"""What becomes of errors on workers, and of what cannot travel: one task's error, and a clear one."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import traceback

import pytest

from parsl.app.app import python_app
from parsl.dataflow.errors import DependencyError
from parsl.serialize.errors import DeserializationError, SerializationError
from tests.live import pilot


@pytest.fixture(scope="module")
def dfk(tmp_path_factory):
    with pilot.kernel(tmp_path_factory.mktemp("errors")) as kernel:
        pilot.ready(kernel.executors["htex"])
        yield kernel


@pytest.fixture(scope="module")
def executor(dfk):
    return dfk.executors["htex"]


class OnlyHere(Exception):
    def __init__(self, code, *, where):
        super().__init__(f"code {code}")
        self.code = code
        self.where = where


def test_an_exception_arrives_as_itself_with_its_traceback_and_one_line_on_where(dfk, executor):
    def inner():
        raise OnlyHere(7, where="deep inside")

    def outer():
        try:
            inner()
        except OnlyHere as e:
            raise LookupError("outer") from e

    future = python_app(outer, data_flow_kernel=dfk)()
    error = future.exception(pilot.SOON)
    assert type(error) is LookupError
    assert isinstance(error.__cause__, OnlyHere)
    assert (error.__cause__.code, error.__cause__.where) == (7, "deep inside")
    text = "".join(traceback.format_exception(error))
    assert 'raise OnlyHere(7, where="deep inside")' in text
    assert "in outer" in text
    assert "worker.py" not in text, "frames of the worker itself tell the user nothing"
    (note,) = error.__notes__
    manager = executor.connected_managers()[0]
    logs = os.path.join(dfk.run_dir, "htex", "block-0", manager["manager"])
    for part in (f"task {future.tid} ", f"host {socket.gethostname()}", "block 0", f"log: {logs}"):
        assert part in note
    assert "\n" not in note


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


def test_an_exception_that_cannot_be_changed_arrives_as_itself(dfk):
    @python_app(data_flow_kernel=dfk)
    def fail():
        raise Frozen(3)

    error = fail().exception(pilot.SOON)
    assert error == Frozen(3)
    assert "block 0" in error.__notes__[0]


def test_an_error_names_the_log_file_of_its_worker_and_it_is_there(dfk):
    @python_app(data_flow_kernel=dfk)
    def fail():
        raise OSError("x")

    (note,) = fail().exception(pilot.SOON).__notes__
    path = note.partition("log: ")[2]
    assert os.path.isfile(path), note


def test_what_depends_on_a_failure_says_so(dfk):
    @python_app(data_flow_kernel=dfk)
    def fail():
        raise KeyError("root")

    @python_app(data_flow_kernel=dfk)
    def after(x):
        return x

    first = fail()
    error = after(after(first)).exception(pilot.SOON)
    assert isinstance(error, DependencyError)
    assert error.__cause__ is first.exception()


class BadNews:
    """Becomes bytes without trouble, but cannot be made of them again."""

    def __reduce__(self):
        return explode, ("bad news",)


def explode(text):
    raise RuntimeError(text)


def test_a_result_that_cannot_be_unpacked_is_that_tasks_error_alone(dfk):
    @python_app(data_flow_kernel=dfk)
    def give(kind):
        return kind() if callable(kind) else kind

    others = [give(i) for i in range(50)]
    bad = give(BadNews)
    others += [give(i) for i in range(50, 100)]
    error = bad.exception(pilot.SOON)
    assert isinstance(error, DeserializationError)
    assert "bad news" in str(error)
    assert [o.result(pilot.SOON) for o in others] == list(range(100))


def test_an_argument_that_cannot_be_packed_is_that_tasks_error_alone(dfk):
    @python_app(data_flow_kernel=dfk)
    def take(x):
        return x

    bad, good = take({"deep": [0, (i for i in ())]}), take(1)
    error = bad.exception(pilot.SOON)
    assert isinstance(error, SerializationError)
    assert "generator" in str(error)
    assert "['deep'][1]" in str(error)
    assert good.result(pilot.SOON) == 1


def test_an_argument_that_cannot_be_unpacked_is_that_tasks_error_alone(dfk):
    @python_app(data_flow_kernel=dfk)
    def take(x):
        return x

    bad, good = take(BadNews()), take(1)
    assert "bad news" in str(bad.exception(pilot.SOON))
    assert good.result(pilot.SOON) == 1


def test_a_result_that_cannot_be_packed_is_that_tasks_error_alone(dfk, executor):
    @python_app(data_flow_kernel=dfk)
    def give(kind):
        return {"good": 1, "bad": (i for i in ())} if kind else 2

    before = pilot.workers_of(executor)
    bad, good = give(True), give(False)
    error = bad.exception(pilot.SOON)
    assert isinstance(error, SerializationError)
    assert "the result['bad']" in str(error)
    assert good.result(pilot.SOON) == 2
    assert pilot.workers_of(executor) == before


def test_an_exception_that_cannot_be_packed_still_tells_its_story(dfk):
    class Clingy(Exception):
        def __init__(self, text):
            super().__init__(text)
            self.ghost = (i for i in ())

    @python_app(data_flow_kernel=dfk)
    def fail():
        raise Clingy("hold on")

    assert "hold on" in str(fail().exception(pilot.SOON))


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, BaseException])
def test_an_exception_that_is_no_exception_costs_no_worker(dfk, executor, kind):
    @python_app(data_flow_kernel=dfk)
    def fail(kind):
        raise kind("raised")

    before = pilot.workers_of(executor)
    assert type(fail(kind).exception(pilot.SOON)) is kind
    assert pilot.workers_of(executor) == before
