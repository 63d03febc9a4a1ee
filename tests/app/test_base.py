"""What all apps share: whose function they are, which defaults matter, which kernel runs them."""

from __future__ import annotations

import functools
import inspect
import pickle
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl import bash_app, join_app, python_app
from parsl.app.base import AppBase
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, loaded, threads_config


@python_app
def add(*numbers: int) -> int:
    return sum(numbers)


def documented(x: int, *, y: int = 2) -> int:
    """Multiply."""
    return x * y


# -- an app and its function ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decorate", [python_app, join_app, bash_app])
def test_an_app_looks_like_its_function(decorate: Any) -> None:
    app = decorate(documented)
    assert isinstance(app, AppBase)
    assert app.func is app.__wrapped__ is documented
    assert (app.__name__, app.__doc__, app.__module__) == ("documented", "Multiply.", __name__)
    assert inspect.signature(app) == inspect.signature(documented)


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        AppBase(documented)  # type: ignore[abstract]


class Point:
    """A class whose methods have the names of what an app has."""

    kernel = "mine"

    def __init__(self, x: int, y: int = 0) -> None:
        self.x, self.y = x, y

    def accepts(self, name: str) -> bool:
        raise AssertionError(name)

    def with_defaults(self, *args: Any) -> Any:
        raise AssertionError(args)

    def __call__(self, z: int) -> int:
        return self.x + z

    @python_app
    def moved(self, by: int, scale: int = 1) -> int:
        """Move."""
        return (self.x + by) * scale

    @staticmethod
    @python_app
    def static(x: int) -> int:
        return -x


def test_methods_classes_and_objects_can_be_apps(kernel: DataFlowKernel) -> None:
    point = Point(3)
    assert point.moved(1, scale=2).result(timeout=SOON) == 8
    assert Point.moved(point, by=2).result(timeout=SOON) == 5
    assert Point.static(4).result(timeout=SOON) == point.static(4).result(timeout=SOON) == -4
    assert Point.moved.__doc__ == "Move."
    assert python_app(Point)(1, y=add(1)).result(timeout=SOON).y == 1
    assert python_app(point)(4).result(timeout=SOON) == 7
    assert python_app(point.__call__)(5).result(timeout=SOON) == 8
    assert python_app(functools.partial(documented, y=5))(2).result(timeout=SOON) == 10


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [(max, (1, 3, 2), 3), (int, ("7",), 7), (dict, ([(1, 2)],), {1: 2}), (len, ("ab",), 2)],
)
def test_builtins_can_be_apps(kernel: DataFlowKernel, function: Any, args: Any, result: Any) -> None:
    assert python_app(function)(*args).result(timeout=SOON) == result


def test_local_functions_and_closures_can_be_apps(kernel: DataFlowKernel) -> None:
    base = 10

    @python_app
    def local(x: int) -> int:
        return base + x

    assert local(1).result(timeout=SOON) == 11


def test_wrong_arguments_fail_in_the_future(kernel: DataFlowKernel) -> None:
    error = python_app(documented)(1, 2, 3).exception(timeout=SOON)
    assert isinstance(error, TypeError)
    assert "documented()" in str(error)


# -- which kernel, which executor -------------------------------------------------------------------------------------


def test_an_app_is_of_the_kernel_that_is_loaded_when_it_is_called(tmp_path: Path) -> None:
    numbers = []
    for _ in range(2):
        with loaded(tmp_path) as kernel:
            assert add.kernel is kernel
            future = add(1)
            assert future.task_record.dfk is kernel
            numbers.append(future.tid)
            future.result(timeout=SOON)
    assert numbers == [0, 0]


@pytest.mark.parametrize("decorate", [python_app, join_app, bash_app])
def test_an_app_may_have_a_kernel_of_its_own(kernel: DataFlowKernel, tmp_path: Path, decorate: Any) -> None:
    with DataFlowKernel(threads_config(tmp_path / "other")) as other:
        app = decorate(data_flow_kernel=other)(documented)
        future = app(1)
        assert future.task_record.dfk is other
        future.exception(timeout=SOON)


@pytest.mark.parametrize("labels", [["b"], ("b",), ["b", "c"], "all"])
def test_an_app_runs_where_it_says(tmp_path: Path, labels: Any) -> None:
    pools = [ThreadPoolExecutor(label=label, max_threads=1) for label in "abc"]
    with loaded(tmp_path, executors=pools):
        where = python_app(executors=labels)(lambda: threading.current_thread().name)
        seen = {where().result(timeout=SOON) for _ in range(60)}
    assert seen == {f"{label}_0" for label in ("abc" if labels == "all" else labels)}


def test_a_join_app_runs_on_the_kernels_own_threads(kernel: DataFlowKernel) -> None:
    seen: list[str] = []

    @join_app
    def join() -> Any:
        seen.append(threading.current_thread().name)
        return add(1)

    join().result(timeout=SOON)
    assert seen == ["_parsl_internal_0"]


# -- defaults ---------------------------------------------------------------------------------------------------------


def test_futures_in_defaults_are_waited_for(kernel: DataFlowKernel) -> None:
    foreign: Future[int] = Future()
    one, two, three, four = (add(n) for n in range(1, 5))

    @python_app
    def app(a: Any, b: Any = one, c: Any = foreign, inputs: Any = (two, three), *, deep: Any = ({"k": four},)) -> Any:
        return a, b, c, list(inputs), deep

    future = app(0)
    assert not future.done()
    foreign.set_result("f")
    assert future.result(timeout=SOON) == (0, 1, "f", [2, 3], ({"k": 4},))
    assert app(0, 5, c=6, inputs=[7], deep=None).result(timeout=SOON) == (0, 5, 6, [7], None)


def test_futures_in_defaults_of_bash_apps_are_waited_for(kernel: DataFlowKernel, tmp_path: Path) -> None:
    one, two = add(1), add(2)

    @bash_app
    def say(word: Any = two, inputs: Any = (one, two), stdout: Any = str(tmp_path / "out")) -> str:
        return f"echo {word} {' '.join(map(str, inputs))}"

    assert say().result(timeout=SOON) == 0
    assert (tmp_path / "out").read_text() == "2 1 2\n"


def test_a_function_with_futures_among_its_defaults_can_travel(kernel: DataFlowKernel) -> None:
    """A worker gets the function, and no future can be sent there."""

    one = add(1)

    def app(a: int, b: Any = one, *, c: Any = one, d: int = 3) -> Any:
        return a, b, c, d

    travelling = python_app(app).travelling
    assert travelling.__name__ == "app"
    assert travelling.__defaults__ == (None,)
    assert travelling.__kwdefaults__ == {"c": None, "d": 3}
    assert isinstance(app.__kwdefaults__["c"], Future)
    assert python_app(documented).travelling is documented
    pickle.dumps(python_app(documented).travelling)


def test_special_parameters_count_as_given(kernel: DataFlowKernel, tmp_path: Path) -> None:
    @python_app
    def app(x: int = 1, inputs: Any = ("default",), outputs: Any = (str(tmp_path / "default"),)) -> Any:
        return x, list(inputs), list(outputs)

    future = app()
    assert future.result(timeout=SOON) == (1, ["default"], [str(tmp_path / "default")])
    assert [o.filename for o in future.outputs] == ["default"]
    future = app(2, outputs=[str(tmp_path / "given")])
    assert future.result(timeout=SOON) == (2, ["default"], [str(tmp_path / "given")])
    assert [o.filename for o in future.outputs] == ["given"]


def test_positional_special_parameters_take_the_place_of_defaults(kernel: DataFlowKernel) -> None:
    never: Future[int] = Future()
    app = python_app(lambda x, inputs=(never,): list(inputs))
    assert app(1, [add(1), 2]).result(timeout=SOON) == [1, 2]


def test_parameters_may_have_any_name(kernel: DataFlowKernel) -> None:
    @python_app
    def app(
        cache: str, executors: int = 1, label: Any = None, func: Any = None, join: Any = None, **others: Any
    ) -> Any:
        return cache, executors, label, func, join, others

    assert app("c", executors=2, label=3, func=4, join=5, task=6, self=7).result(timeout=SOON) == (
        "c",
        2,
        3,
        4,
        5,
        {"task": 6, "self": 7},
    )
