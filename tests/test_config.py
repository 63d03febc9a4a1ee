"""Config: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest

import parsl
from parsl.config import Config
from parsl.dataflow.dependency_resolvers import SHALLOW_DEPENDENCY_RESOLVER
from parsl.dataflow.taskrecord import TaskRecord
from parsl.errors import ConfigurationError
from parsl.executors.threads import ThreadPoolExecutor
from parsl.logconfigs.file import FileLogging
from parsl.usage_tracking.levels import LEVEL_1
from parsl.utils import RepresentationMixin

DEFAULTS = {
    "app_cache": True,
    "checkpoint_files": None,
    "checkpoint_mode": None,
    "checkpoint_period": None,
    "dependency_resolver": None,
    "exit_mode": "cleanup",
    "garbage_collect": True,
    "internal_tasks_max_threads": 10,
    "retries": 0,
    "retry_handler": None,
    "run_dir": "runinfo",
    "std_autopath": None,
    "strategy": "simple",
    "strategy_period": 5,
    "max_idletime": 120.0,
    "monitoring": None,
    "usage_tracking": 0,
    "project_name": None,
    "initialize_logging": True,
    "memoizer": None,
    "max_outstanding": None,
    "progress": False,
    "system_retries": 3,
}


def handler(exception: Exception, task: TaskRecord) -> float:
    return 0.5


# -- what it takes ----------------------------------------------------------------------------------------------------


def test_the_defaults() -> None:
    config = Config()
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS
    (executor,) = config.executors
    assert isinstance(executor, ThreadPoolExecutor)
    assert executor.label == "threads"


def test_the_parameters_and_their_order() -> None:
    parameters = inspect.signature(Config).parameters
    assert list(parameters) == ["executors", *DEFAULTS]
    assert {name: p.default for name, p in parameters.items() if name != "executors"} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "app_cache": [True, False],
        "checkpoint_files": [[], ["/runs/000/checkpoint"], ("a", "b")],
        "checkpoint_mode": ["task_exit", "periodic", "dfk_exit", "manual", None],
        "dependency_resolver": [SHALLOW_DEPENDENCY_RESOLVER, None],
        "exit_mode": ["cleanup", "skip", "wait"],
        "garbage_collect": [True, False],
        "internal_tasks_max_threads": [1, 100],
        "retries": [0, 5],
        "retry_handler": [handler, None],
        "run_dir": ["elsewhere", "/runs"],
        "std_autopath": [handler, None],
        "strategy": ["none", "simple", "htex_auto_scale", None],
        "strategy_period": [0, 1, 0.5],
        "max_idletime": [0, 1, 0.5],
        "usage_tracking": [True, False, 0, 1, 2, 3, LEVEL_1],
        "project_name": ["mine", None],
        "initialize_logging": [True, False, FileLogging()],
    }.items(),
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_each_parameter_takes(name: str, values: list[Any]) -> None:
    for value in values:
        assert getattr(Config(**{name: value}), name) is value


def test_executors_may_come_as_any_iterable() -> None:
    pools = [ThreadPoolExecutor(label=label) for label in "ab"]
    for given in (pools, tuple(pools), iter(pools), (p for p in pools), {p.label: p for p in pools}.values()):
        assert list(Config(executors=given).executors) == pools
    given = list(pools)
    config = Config(executors=given)
    given.clear()
    assert list(config.executors) == pools


def test_two_configs_share_no_executor() -> None:
    assert Config().executors[0] is not Config().executors[0]


def test_attributes_may_be_changed() -> None:
    config = Config()
    config.retries, config.run_dir, config.exit_mode = 3, "other", "wait"
    config.executors[0].label = "renamed"
    for shown in ("retries=3", "run_dir='other'", "exit_mode='wait'", "label='renamed'"):
        assert shown in repr(config)


def test_repr_is_the_call_that_makes_it() -> None:
    assert RepresentationMixin._validate_repr
    config = Config(executors=[ThreadPoolExecutor(label="x")], retries=2, exit_mode="skip")
    again = eval(repr(config), {"Config": Config, "ThreadPoolExecutor": ThreadPoolExecutor})
    assert repr(again) == repr(config) == str(config)
    assert (again.retries, again.executors[0].label) == (2, "x")


def test_what_usage_tracking_may_tell() -> None:
    config = Config(executors=[ThreadPoolExecutor(label="a"), ThreadPoolExecutor(label="b")])
    assert config.get_usage_information() == {"executors_len": 2, "dependency_resolver": False}
    assert (
        Config(dependency_resolver=SHALLOW_DEPENDENCY_RESOLVER).get_usage_information()["dependency_resolver"] is True
    )


# -- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("executors", 3),
        ("executors", "threads"),
        ("executors", ["threads"]),
        ("executors", [ThreadPoolExecutor]),
        ("executors", ThreadPoolExecutor()),
        ("executors", (x for x in ["threads"])),
        ("app_cache", "yes"),
        ("checkpoint_files", "/runs/000/checkpoint"),
        ("checkpoint_files", [1]),
        ("checkpoint_mode", "sometimes"),
        ("checkpoint_mode", True),
        ("checkpoint_period", 60),
        ("dependency_resolver", handler),
        ("exit_mode", "explode"),
        ("exit_mode", None),
        ("garbage_collect", None),
        ("internal_tasks_max_threads", "10"),
        ("retries", 1.5),
        ("retries", None),
        ("retry_handler", "handler"),
        ("run_dir", 7),
        ("run_dir", None),
        ("std_autopath", "path"),
        ("strategy", "clever"),
        ("strategy_period", "5"),
        ("max_idletime", None),
        ("usage_tracking", "1"),
        ("usage_tracking", 1.0),
        ("project_name", 4),
        ("initialize_logging", "file"),
        ("initialize_logging", FileLogging),
    ],
    ids=repr,
)
def test_a_wrong_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"Config: parameter '{name}' takes .*but got \w+: "):
        Config(**{name: value})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"executors": []}, "'executors' is empty"),
        ({"executors": [ThreadPoolExecutor(), ThreadPoolExecutor()]}, "label.*'threads'.*must differ"),
        ({"internal_tasks_max_threads": 0}, "'internal_tasks_max_threads' must be at least 1, but got 0"),
        ({"retries": -1}, "'retries' must be at least 0, but got -1"),
        ({"strategy_period": -0.1}, "'strategy_period' must be at least 0"),
        ({"strategy_period": math.nan}, "'strategy_period' must be at least 0"),
        ({"max_idletime": -1}, "'max_idletime' must be at least 0"),
        ({"usage_tracking": 12}, "12"),
        ({"usage_tracking": -1}, "-1"),
        ({"checkpoint_mode": "periodic", "checkpoint_period": "soon"}, "'HH:MM:SS'.*'soon'"),
        ({"checkpoint_period": "00:10:00"}, "needs checkpoint_mode='periodic'"),
        ({"checkpoint_mode": "manual", "checkpoint_period": "00:10:00"}, "'manual'"),
    ],
    ids=str,
)
def test_a_value_that_cannot_work_is_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Config(**options)


def test_an_unknown_parameter_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="retires"):
        Config(retires=1)  # type: ignore[call-arg]


def test_executors_are_not_set_but_made_anew() -> None:
    with pytest.raises(AttributeError):
        Config().executors = []  # type: ignore[misc]


def test_building_a_kernel_changes_nothing_that_the_config_shows(tmp_path: Path) -> None:
    config = Config(run_dir=str(tmp_path), strategy="none")
    before = str(config)
    with parsl.load(config) as kernel:
        assert kernel.config is config
        assert str(config) == before
    assert str(config) == before
