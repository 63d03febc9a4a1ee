"""The three decorators: their options, their names, what they refuse."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import parsl
from parsl.app import app as module
from parsl.app.app import AppBase, bash_app, join_app, python_app
from parsl.app.bash import BashApp
from parsl.app.python import PythonApp
from parsl.dataflow.dflow import DataFlowKernel

KINDS = {python_app: PythonApp, join_app: PythonApp, bash_app: BashApp}


def function(x: int = 1) -> Any:
    return x


@pytest.mark.parametrize("decorate", KINDS)
@pytest.mark.parametrize("way", [lambda d: d(function), lambda d: d()(function), lambda d: d(function=function)])
def test_with_and_without_options(decorate: Any, way: Any) -> None:
    app = way(decorate)
    assert type(app) is KINDS[decorate]
    assert isinstance(app, AppBase)
    assert app.func is function
    assert (app.data_flow_kernel, app.executors, app.cache, app.ignore_for_cache) == (None, "all", False, None)
    assert getattr(app, "join", False) is (decorate is join_app)


@pytest.mark.parametrize("decorate", [python_app, bash_app])
def test_every_option_is_kept(decorate: Any, kernel: DataFlowKernel) -> None:
    options = {"data_flow_kernel": kernel, "cache": True, "executors": ["threads"], "ignore_for_cache": ["x"]}
    app = decorate(**options)(function)
    assert {name: getattr(app, name) for name in options} == options


def test_the_options_of_a_join_app(kernel: DataFlowKernel) -> None:
    options = {"data_flow_kernel": kernel, "cache": True, "ignore_for_cache": ["x"]}
    app: Any = join_app(**options)(function)  # type: ignore[call-overload]
    assert {name: getattr(app, name) for name in options} == options
    with pytest.raises(TypeError, match="executors"):
        join_app(executors=["threads"])  # type: ignore[call-overload]


def test_the_callers_list_is_not_changed(kernel: DataFlowKernel) -> None:
    ignored = ["x"]
    app = python_app(lambda stdout=None: stdout, ignore_for_cache=ignored)
    future = app(stdout=parsl.AUTO_LOGNAME)
    assert ignored == ["x"]
    assert future.task_record["ignore_for_cache"] == ["x", "stdout"]
    assert future.result(timeout=10) == future.stdout


@pytest.mark.parametrize("decorate", KINDS)
def test_parameters_and_their_order(decorate: Any) -> None:
    names = list(inspect.signature(decorate).parameters)
    wanted = ["function", "data_flow_kernel", "cache", "executors", "ignore_for_cache"]
    assert names == [name for name in wanted if name != "executors" or decorate is not join_app]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"function": 3}, "python_app: parameter 'function' takes .* but got int: 3"),
        ({"data_flow_kernel": "dfk"}, "parameter 'data_flow_kernel' takes DataFlowKernel"),
        ({"cache": "yes"}, "parameter 'cache' takes bool"),
        ({"executors": "threads"}, "parameter 'executors'"),
        ({"executors": [1]}, "parameter 'executors'"),
        ({"ignore_for_cache": "x"}, "parameter 'ignore_for_cache'"),
    ],
)
def test_wrong_types_are_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        python_app(**options)


def test_the_names_of_the_module() -> None:
    assert set(module.__all__) == {"AppBase", "AppFuture", "DataFlowKernel", "bash_app", "join_app", "python_app"}
    assert parsl.python_app is python_app
    assert parsl.bash_app is bash_app
    assert parsl.join_app is join_app
