from __future__ import annotations

import importlib.util
import math
import subprocess
import sys

import pytest

from parsl.errors import OptionalModuleMissing
from parsl.monitoring import MonitoringHub, monitoring
from tests.monitoring.databases import hub, select


def test_it_is_shown_as_it_was_made():
    made = MonitoringHub(workflow_name="w", resource_monitoring_interval=5)
    assert "workflow_name='w'" in repr(made)
    assert "resource_monitoring_interval=5" in repr(made)


@pytest.mark.parametrize("options", [{"hub_port": 55055}, {"hub_port_range": (1, 2)}])
def test_ports_are_deprecated(options):
    with pytest.warns(DeprecationWarning, match="no effect"):
        MonitoringHub(hub_address="localhost", **options)


@pytest.mark.parametrize("interval", [-1, math.nan])
def test_an_interval_that_cannot_be_is_refused(interval):
    with pytest.raises(ValueError, match="resource_monitoring_interval"):
        MonitoringHub(resource_monitoring_interval=interval)


@pytest.mark.parametrize("options", [{"workflow_name": 3}, {"logging_endpoint": 1}, {"monitoring_debug": "yes"}])
def test_wrong_types_are_refused(options):
    with pytest.raises(TypeError):
        MonitoringHub(**options)


def test_without_sqlalchemy_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionalModuleMissing, match=r"parsl\[monitoring\]"):
        hub(tmp_path)


def test_the_kernels_process_does_not_load_the_library(tmp_path):
    script = (
        "import sys; from pathlib import Path; from tests.monitoring.databases import hub\n"
        f"hub(Path({str(tmp_path)!r})).close(); sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/name", "postgresql://me:***@host/name"),
        ("postgresql+psycopg2://me:se@cret@host:5432/name", "postgresql+psycopg2://me:***@host:5432/name"),
        ("sqlite:////scratch/a:b@c.db", "sqlite:////scratch/a:b@c.db"),
    ],
)
def test_passwords_are_hidden(url, shown):
    assert monitoring._PASSWORD.sub(r"\1***@", url) == shown


def test_closing_twice_does_nothing(tmp_path):
    made = hub(tmp_path, workflow_version="7")
    made.close()
    made.close()
    assert select(tmp_path / "monitoring.db", "SELECT workflow_version FROM workflow") == [("7",)]


def test_the_database_is_named_in_the_log_and_its_url_is_private(tmp_path, caplog):
    caplog.set_level("INFO")
    made = hub(tmp_path, logging_endpoint=f"sqlite:///{tmp_path}/other.db")
    made.close()
    assert "other.db" in caplog.text
    assert (tmp_path / "run-1" / "monitoring" / "about.json").stat().st_mode & 0o077 == 0
