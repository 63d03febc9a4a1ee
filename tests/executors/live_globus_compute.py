"""The contract with the SDK of Globus Compute, on a stand-in for its service; run by test_globus_compute.py."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import globus_compute_sdk.sdk.client
import pytest
from globus_compute_sdk import Client, Executor
from globus_compute_sdk.errors import TaskExecutionFailed
from globus_sdk.authorizers import NullAuthorizer

from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute import GlobusComputeExecutor
from tests.executors.contract import PATIENCE, ExecutorContract, add, count_bytes, make_bytes
from tests.executors.globus_service import Service, running

pytestmark = [
    pytest.mark.services,
    pytest.mark.leaks_ok("the SDK's threads wait for results as long as the program runs"),
]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with running(workers=2) as (service, url):
        monkeypatch.setattr(globus_compute_sdk.sdk.client, "get_web_service_url", lambda *_: url)
        # As if this were the first executor of the program.
        monkeypatch.setattr(Executor, "_default_task_group_id", None)
        yield service


@pytest.fixture
def executor(service: Service) -> GlobusComputeExecutor:
    sdk = Executor(
        endpoint_id=uuid.uuid4(),
        client=Client(authorizer=NullAuthorizer()),
        # The SDK holds back its calls of the service; the least that it allows.
        api_burst_limit=8,
        api_burst_window_s=1,
    )
    return GlobusComputeExecutor(sdk)


class TestContract(ExecutorContract):
    CANCELS = False
    LOST = TaskExecutionFailed
    SPECIFICATION: ClassVar[dict[str, Any]] = {"num_nodes": 1, "user_endpoint_config": {"queue": "debug"}}
    WRONG_SPECIFICATION: ClassVar[dict[str, Any]] = {"num_nodes": object()}
    TASKS = 300

    def test_large_data(self, kernel: DataFlowKernel) -> None:
        # The real service takes 10 MB.
        data = self.call(kernel, make_bytes, 3_000_000)
        assert self.call(kernel, count_bytes, data).result(timeout=PATIENCE) == 3_000_000


def test_what_a_task_asks_for_reaches_the_service(
    service: Service, executor: GlobusComputeExecutor, tmp_path: Any
) -> None:
    from parsl import Config, python_app

    with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path), strategy="none")) as kernel:
        app = python_app(add, data_flow_kernel=kernel)
        shape = {"num_nodes": 2, "user_endpoint_config": {"queue": "debug"}}
        assert app(1, parsl_resource_specification=shape).result(timeout=PATIENCE) == 1
        assert app(2).result(timeout=PATIENCE) == 2
    first, second = service.submissions
    assert first["resource_specification"] == {"num_nodes": 2}
    assert first["user_endpoint_config"] == {"queue": "debug"}
    assert "resource_specification" not in second
    # One function is registered for all apps.
    assert len(service.functions) == 1
