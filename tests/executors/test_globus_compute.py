"""The Globus Compute executor: on a stand-in for the SDK's executor, and on the SDK with a stand-in for its service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import dill
import pytest

from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.errors import ExecutorShutDownError, InvalidResourceSpecification
from parsl.executors.globus_compute import GlobusComputeExecutor, _dilled, _outcome_of, run_dilled
from parsl.serialize.errors import SerializationError
from tests.executors.contract import PATIENCE, ExecutorContract, add
from tests.executors.elsewhere import run_elsewhere


class TaskExecutionFailed(Exception):
    """What the SDK raises where an endpoint's worker was lost, or could not run a function."""


def at_the_endpoint(packed: bytes) -> Any:
    function, args, kwargs = dill.loads(packed)
    return function(*args, **kwargs)


class StandIn(Executor):
    """As `globus_compute_sdk.Executor`, of version 4: functions are packed by dill, workers are processes."""

    def __init__(self, workers: int = 2) -> None:
        self._resources: Any = None
        self.user_endpoint_config: Any = None
        self.workers = workers
        self.pool = self._new_pool()
        self.asked: list[tuple[Any, Any]] = []
        self.stopped = False

    @property
    def resource_specification(self) -> Any:
        return self._resources

    @resource_specification.setter
    def resource_specification(self, value: Any) -> None:
        if value is not None:
            try:
                json.dumps(value)
            except Exception as e:
                raise TypeError("Resource specification must be JSON-serializable") from e
        self._resources = value

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"))

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.stopped:
            raise RuntimeError("executor is shutdown; no new functions may be executed")
        self.asked.append((self.resource_specification, self.user_endpoint_config))
        packed = dill.dumps((fn, args, kwargs))
        try:
            inner = self.pool.submit(at_the_endpoint, packed)
        except Exception:
            self.pool.shutdown()
            self.pool = self._new_pool()
            inner = self.pool.submit(at_the_endpoint, packed)
        outer: Future[Any] = Future()
        # Tasks that are with the service can't be cancelled.
        outer.set_running_or_notify_cancel()
        inner.add_done_callback(lambda f: self._pass_on(f, outer))
        return outer

    def _pass_on(self, inner: Future[Any], outer: Future[Any]) -> None:
        exception = inner.exception()
        if exception is not None:
            outer.set_exception(TaskExecutionFailed(str(exception)))
        else:
            outer.set_result(inner.result())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.stopped = True
        self.pool.shutdown(wait=True)


@pytest.fixture
def executor() -> GlobusComputeExecutor:
    return GlobusComputeExecutor(StandIn(), label="globus")


@pytest.mark.leaks_ok("the pool of the stand-in keeps a resource tracker of the standard library")
class TestContract(ExecutorContract):
    CANCELS = False
    LOST = TaskExecutionFailed
    SPECIFICATION: ClassVar = {"num_nodes": 1, "user_endpoint_config": {"queue": "debug"}}
    # What an endpoint understands only the endpoint knows; this is what cannot travel to it.
    WRONG_SPECIFICATION: ClassVar = {"num_nodes": object()}
    TASKS = 300


# -- what a task asks for ----------------------------------------------------------------------------------------------


def an_sdk() -> Any:
    sdk = mock.Mock(spec=["submit", "shutdown", "resource_specification", "user_endpoint_config"])
    sdk.__class__ = Executor
    sdk.resource_specification, sdk.user_endpoint_config = {"from": "the user"}, {"also": "the user's"}
    sdk.asked = []
    return sdk


def seen_by(sdk: Any) -> list[tuple[Any, Any]]:
    seen: list[tuple[Any, Any]] = []

    def submit(*_: Any, **__: Any) -> Future[Any]:
        seen.append((sdk.resource_specification, sdk.user_endpoint_config))
        return Future()

    sdk.submit.side_effect = submit
    return seen


@pytest.mark.parametrize(
    ("asked", "resources", "config"),
    [
        ({}, {"from": "the user"}, {"also": "the user's"}),
        ({"num_nodes": 2}, {"num_nodes": 2}, {"also": "the user's"}),
        ({"user_endpoint_config": {"a": 1}}, {"from": "the user"}, {"a": 1}),
        ({"num_nodes": 2, "user_endpoint_config": None}, {"num_nodes": 2}, None),
    ],
)
def test_what_a_task_asks_for_is_told_for_that_task_alone(asked: Any, resources: Any, config: Any) -> None:
    sdk = an_sdk()
    seen = seen_by(sdk)
    before = dict(asked)
    GlobusComputeExecutor(sdk).submit(add, asked, 1)
    assert seen == [(resources, config)]
    assert (sdk.resource_specification, sdk.user_endpoint_config) == ({"from": "the user"}, {"also": "the user's"})
    assert asked == before


def test_a_refused_submission_leaves_the_users_settings() -> None:
    sdk = an_sdk()
    sdk.submit.side_effect = RuntimeError("no route to the service")
    with pytest.raises(RuntimeError, match="no route"):
        GlobusComputeExecutor(sdk).submit(add, {"num_nodes": 2}, 1)
    assert sdk.resource_specification == {"from": "the user"}


def test_without_a_kernel_the_sdk_gets_the_function_itself() -> None:
    sdk = an_sdk()
    future = GlobusComputeExecutor(sdk).submit(add, {}, 1, two=2)
    sdk.submit.assert_called_once_with(add, 1, two=2)
    assert future is sdk.submit.return_value


def test_what_the_sdk_refuses_is_a_wrong_specification() -> None:
    with pytest.raises(InvalidResourceSpecification, match="JSON-serializable"):
        GlobusComputeExecutor(StandIn()).submit(add, {"num_nodes": object()}, 1)


# -- life --------------------------------------------------------------------------------------------------------------


def test_shutdown_does_not_wait_for_tasks_that_are_with_the_service() -> None:
    sdk = an_sdk()
    executor = GlobusComputeExecutor(sdk)
    executor.start()
    executor.shutdown()
    executor.shutdown()
    sdk.shutdown.assert_called_once_with(wait=False, cancel_futures=True)
    with pytest.raises(ExecutorShutDownError):
        executor.submit(add, {}, 1)
    with pytest.raises(ConfigurationError, match="make a new one of each"):
        executor.start()


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(TypeError, match="parameter 'executor'"):
        GlobusComputeExecutor("endpoint-id")  # type: ignore[arg-type]


def test_labels_and_staging_are_kept() -> None:
    assert GlobusComputeExecutor(StandIn()).label == "GlobusComputeExecutor"
    assert "working_dir='/there'" in repr(GlobusComputeExecutor(StandIn(), working_dir="/there"))


# -- the function that travels -----------------------------------------------------------------------------------------

ALONE = """
import sys
import dill
sys.modules['parsl'] = None  # as on an endpoint without this package
sys.path = [p for p in sys.path if 'wt' not in p]
run = dill.loads(bytes.fromhex(sys.argv[1]))
sys.stdout.write(run(bytes.fromhex(sys.argv[2])).hex())
"""


def packed(function: Any, *args: Any) -> bytes:
    return _dilled(SimpleNamespace(func=function, args=args, kwargs={}))  # type: ignore[arg-type]


def by_value(source: str) -> Any:
    """Make a function as a script has it: one that travels whole."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    return names["f"]


def test_it_needs_no_package_of_ours() -> None:
    def outcome(function: Any, *args: Any) -> Any:
        command = [sys.executable, "-c", ALONE, dill.dumps(run_dilled).hex(), packed(function, *args).hex()]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return _outcome_of(bytes.fromhex(ran.stdout), 7)

    assert outcome(by_value("def f(x): return x + 1"), 41).result == 42
    error = outcome(by_value("def f(): raise ValueError('why')")).exception
    assert (type(error), str(error)) == (ValueError, "why")
    assert "in task 7 on host " in error.__notes__[0]


def test_a_result_that_cannot_travel() -> None:
    outcome: Any = _outcome_of(run_dilled(packed(lambda: (i for i in ()))), 1)
    assert isinstance(outcome.exception, SerializationError)
    assert "the result of type generator" in str(outcome.exception)


class Stubborn(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not me")


def be_stubborn() -> None:
    raise Stubborn("at all")


def test_an_exception_that_cannot_travel_is_told_as_text() -> None:
    outcome: Any = _outcome_of(run_dilled(packed(be_stubborn)), 1)
    assert isinstance(outcome.exception, RuntimeError)
    assert "Stubborn: at all" in str(outcome.exception)


def test_an_answer_that_cannot_be_read_is_the_error_of_that_task() -> None:
    outcome: Any = _outcome_of(b"nonsense", 1)
    assert isinstance(outcome.exception, Exception)


def test_a_missing_dill_names_the_extra(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "dill", None)
    with pytest.raises(OptionalModuleMissing, match="globus_compute"):
        packed(add, 1)


def test_open_tasks_are_told_at_the_end(tmp_path: Path) -> None:
    sdk = an_sdk()
    seen_by(sdk)
    from parsl import python_app

    executor = GlobusComputeExecutor(sdk)
    kernel = DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none"))
    future = python_app(add, data_flow_kernel=kernel)(1)
    kernel.loop.call(lambda: None)
    assert executor.outstanding() == 1
    kernel.cleanup()
    assert future.exception(timeout=PATIENCE) is not None


# -- the SDK itself ----------------------------------------------------------------------------------------------------


@pytest.mark.services
def test_with_the_sdk(tmp_path: Path) -> None:
    """Run the contract with the SDK's own client, on a stand-in for the service."""
    run_elsewhere(os.environ.get("GLOBUS_PYTHON"), Path(__file__).parent / "live_globus_compute.py", tmp_path)
