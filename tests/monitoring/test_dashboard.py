from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request

import psutil
import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.errors import OptionalModuleMissing
from parsl.executors.threads import ThreadPoolExecutor
from parsl.monitoring import MonitoringHub, dashboard
from parsl.monitoring.errors import MonitoringHubStartError
from parsl.monitoring.visualization.server import listen
from tests.live.pilot import wait_for
from tests.monitoring.databases import hub


def page(made):
    with urllib.request.urlopen(made.dashboard_url) as answer:
        return answer.read().decode()


def test_a_program_shows_its_run_while_it_lasts(tmp_path):
    monitoring = MonitoringHub(workflow_name="a name of its own", dashboard=0)
    config = Config(executors=[ThreadPoolExecutor()], run_dir=str(tmp_path), strategy="none", monitoring=monitoring)
    with DataFlowKernel(config) as kernel:
        python_app(lambda: None, data_flow_kernel=kernel)().result()
        url = monitoring.dashboard_url
        wait_for(lambda: "a name of its own" in page(monitoring))
    assert monitoring.dashboard_url is None
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_its_address_is_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO")
    made = hub(tmp_path, dashboard=0)
    url = made.dashboard_url
    made.close()
    assert f"The live page of this run is at {url}" in caplog.text


def test_there_is_none_unless_it_is_asked_for(tmp_path):
    made = hub(tmp_path)
    assert made.dashboard_url is None
    made.close()


def test_the_usual_port_is_taken_if_it_is_free(tmp_path, monkeypatch):
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(dashboard, "PORT", port)
    first = hub(tmp_path, "run-1", dashboard=True)
    second = hub(tmp_path, "run-2", dashboard=True)
    assert first.dashboard_url == f"http://127.0.0.1:{port}/"
    assert second.dashboard_url not in {None, first.dashboard_url}
    second.close()
    first.close()


def test_a_port_that_is_taken_is_said_and_leaves_nothing(tmp_path):
    with listen("127.0.0.1", 0) as taken, pytest.raises(MonitoringHubStartError, match="Address already in use"):
        hub(tmp_path, dashboard=taken.getsockname()[1])


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(ValueError, match="dashboard"):
        MonitoringHub(dashboard=port)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else real(name))
    with pytest.raises(OptionalModuleMissing, match=r"parsl\[visualization\]"):
        hub(tmp_path, dashboard=True)


def test_its_death_leaves_the_run_alone(tmp_path, caplog):
    made = hub(tmp_path, dashboard=0)
    assert "<title>" in page(made)
    os.kill(made._dashboard.pid, 9)
    wait_for(lambda: "the run goes on without" in caplog.text)
    made.close()


def test_a_frozen_one_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "_END_SECONDS", 0.2)
    made = hub(tmp_path, dashboard=0)
    process = psutil.Process(made._dashboard.pid)
    process.suspend()
    made.close()
    assert not process.is_running()


def test_a_password_is_not_in_its_arguments(tmp_path):
    url = f"sqlite:///{tmp_path}/se-cret.db"
    made = hub(tmp_path, dashboard=0, logging_endpoint=url)
    assert "se-cret" not in " ".join(psutil.Process(made._dashboard.pid).cmdline())
    assert "<title>" in page(made)
    made.close()
