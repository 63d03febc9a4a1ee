from __future__ import annotations

import enum
import http.server
import json
import logging
import platform
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parsl.errors import ConfigurationError
from parsl.representation import RepresentationMixin
from parsl.usage_tracking.api import UsageInformation
from parsl.usage_tracking.delivery import deliver, parse_endpoint
from parsl.usage_tracking.usage import ENDPOINT_VARIABLE, UsageTracker, describe_components
from parsl.version import VERSION


class State(enum.IntEnum):
    exec_done = 3
    failed = 4
    dep_fail = 5


class Provider(RepresentationMixin):
    def __init__(self, blocks: int = 1) -> None:
        self.blocks = blocks


class Executor(RepresentationMixin, UsageInformation):
    def __init__(self, label: str, provider: Provider | None = None) -> None:
        self.label, self.provider = label, provider
        self.blocks_to_job_id = {"0": "a", "1": "b"}

    def get_usage_information(self) -> dict[str, object]:
        return {"mpi": True}


class Config(RepresentationMixin, UsageInformation):
    def __init__(self, executors: list[Executor], usage_tracking: int) -> None:
        self.executors, self.usage_tracking = executors, usage_tracking

    def get_usage_information(self) -> dict[str, object]:
        return {"executors_len": len(self.executors)}


for ours in (Provider, Executor, Config):
    ours.__module__ = f"parsl.{ours.__name__.lower()}"


class Outsider(Executor):
    """Of somebody's own code."""


class Kernel:
    run_id = "11-22"

    def __init__(self, level: int) -> None:
        self.config: Any = Config([Executor("a", Provider()), Outsider("secret name")], level)
        self.executors: dict[str, Any] = {executor.label: executor for executor in self.config.executors}
        self.executors["_parsl_internal"] = object()
        self.task_state_counts: dict[Any, int] = {State.exec_done: 5, State.failed: 2, State.dep_fail: 1}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    yield
    assert "parsl-usage" not in [thread.name for thread in threading.enumerate()]


@contextmanager
def http_server(status: int = 200, **headers: str) -> Iterator[tuple[str, queue.SimpleQueue[Any]]]:
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            received.put((self.path, "GET", None))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/usage", received
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def udp_server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        yield server


def run(tracker: UsageTracker) -> None:
    tracker.send_start_message()
    tracker.send_end_message()
    tracker.close()


def test_level_1_reports_versions_and_platform_by_http() -> None:
    with http_server() as (url, received):
        run(UsageTracker(Kernel(1), url))
        path, content_type, report = received.get(timeout=10)
        assert received.empty()
    assert (path, content_type) == ("/usage", "application/json")
    assert report == {
        "report": "start", "level": 1, "run": "11-22", "parsl": VERSION, "python": platform.python_version(),
        "implementation": platform.python_implementation(), "system": platform.system(), "machine": platform.machine(),
    }  # fmt: skip


@pytest.mark.parametrize("form", ["udp://127.0.0.1:{}", "127.0.0.1:{}", "udp://localhost:{}"])
def test_level_2_adds_the_components_by_udp(udp_server: socket.socket, form: str) -> None:
    run(UsageTracker(Kernel(2), form.format(udp_server.getsockname()[1])))
    report = json.loads(udp_server.recv(65536))
    assert report["level"] == 2
    assert report["components"] == [
        {"class": "parsl.config.Config", "executors_len": 2},
        {"class": "parsl.executor.Executor", "mpi": True},
        {"class": "parsl.executor.Executor", "mpi": True},  # Outsider, under the name that is ours
        {"class": "other"},
        {"class": "parsl.provider.Provider"},
    ]
    assert "secret" not in json.dumps(report)
    udp_server.setblocking(False)
    with pytest.raises(BlockingIOError):
        udp_server.recv(1)


def test_level_3_adds_the_end() -> None:
    with http_server() as (url, received):
        tracker = UsageTracker(Kernel(3), url)
        run(tracker)
        tracker.close()
        reports = {report["report"]: report for _, _, report in (received.get(timeout=10) for _ in range(2))}
    assert "components" in reports["start"]
    end = reports["end"]
    assert end.pop("seconds") >= 0
    assert end == {
        "report": "end", "level": 3, "run": "11-22", "tasks": 8, "failed_tasks": 3, "blocks": 4,
        "task_states": {"exec_done": 5, "failed": 2, "dep_fail": 1},
    }  # fmt: skip


def test_the_environment_names_an_endpoint_and_the_parameter_goes_first(
    monkeypatch: pytest.MonkeyPatch, udp_server: socket.socket
) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, f"127.0.0.1:{udp_server.getsockname()[1]}")
    run(UsageTracker(Kernel(1)))
    assert json.loads(udp_server.recv(65536))["report"] == "start"
    with http_server() as (url, received):
        run(UsageTracker(Kernel(1), url))
        assert received.get(timeout=10)
    udp_server.setblocking(False)
    with pytest.raises(BlockingIOError):
        udp_server.recv(1)


class ForbiddenError(RuntimeError):
    """Something was about to be sent."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ForbiddenError(args, kwargs)

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(threading, "Thread", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("level", "endpoint"), [(0, "127.0.0.1:9"), (False, "http://127.0.0.1:9/"), (1, None), (3, None)]
)
def test_nothing_leaves_without_both_level_and_endpoint(level: int, endpoint: str | None) -> None:
    run(UsageTracker(Kernel(level), endpoint))


@pytest.mark.usefixtures("no_network")
def test_the_guard_of_the_test_above_works() -> None:
    with pytest.raises(ForbiddenError):
        run(UsageTracker(Kernel(1), "127.0.0.1:9"))


def test_a_failing_server_is_a_debug_record(caplog: pytest.LogCaptureFixture) -> None:
    with http_server(500) as (url, received), caplog.at_level(logging.DEBUG, logger="parsl"):
        run(UsageTracker(Kernel(1), url))
        assert received.get(timeout=10)
    (record,) = [record for record in caplog.records if "not delivered" in record.getMessage()]
    assert record.levelno == logging.DEBUG
    assert "500" in record.getMessage()


def test_a_redirection_is_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    with http_server() as (other, elsewhere), http_server(302, Location=other) as (url, received):
        with caplog.at_level(logging.DEBUG, logger="parsl"):
            run(UsageTracker(Kernel(1), url))
        assert received.get(timeout=10)
        assert elsewhere.empty()
    assert "not delivered" in caplog.text


def test_nobody_listening_is_a_debug_record(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        with caplog.at_level(logging.DEBUG, logger="parsl"):
            run(UsageTracker(Kernel(1), f"http://127.0.0.1:{free.getsockname()[1]}/"))
    assert "not delivered" in caplog.text


def test_a_silent_server_holds_up_close_no_longer_than_asked(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as silent, caplog.at_level(logging.DEBUG, logger="parsl"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tracker = UsageTracker(Kernel(1), f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.5)
        tracker.send_start_message()
        tracker.close(timeout=0.01)
        assert "parsl-usage" in [thread.name for thread in threading.enumerate()]
        tracker.close(timeout=30)
    assert "timed out" in caplog.text


def test_a_component_that_fails_to_tell_costs_the_report_only(
    caplog: pytest.LogCaptureFixture, udp_server: socket.socket
) -> None:
    class Broken(Executor):
        def get_usage_information(self) -> dict[str, object]:
            raise RuntimeError("don't ask")

    kernel = Kernel(2)
    kernel.executors["broken"] = Broken("b")
    with caplog.at_level(logging.DEBUG, logger="parsl"):
        run(UsageTracker(kernel, f"127.0.0.1:{udp_server.getsockname()[1]}"))
    assert "don't ask" in caplog.text


def test_components_that_hold_each_other_are_told_once() -> None:
    executor = Executor("a")
    executor.provider = executor  # type: ignore[assignment]
    assert describe_components([executor, executor]) == [{"class": "parsl.executor.Executor", "mpi": True}]


def test_values_that_json_cannot_express_go_as_text(udp_server: socket.socket) -> None:
    url = parse_endpoint(f"127.0.0.1:{udp_server.getsockname()[1]}")
    deliver(url, {"state": frozenset(), "level": State.failed}, 5)
    assert json.loads(udp_server.recv(65536)) == {"state": "frozenset()", "level": 4}


@pytest.mark.parametrize(
    "endpoint",
    [
        "host",
        "udp://host",
        "host:port",
        "host:70000",
        ":5000",
        "ftp://host:5",
        "http://",
        "http:///path",
        "udp://:1",
        "[::1:5",
    ],
)
def test_endpoints_that_are_none(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="A usage tracking endpoint has the form"):
        UsageTracker(Kernel(1), endpoint)
    monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
    with pytest.raises(ConfigurationError) as caught:
        UsageTracker(Kernel(3))
    assert repr(endpoint) in str(caught.value)
    run(UsageTracker(Kernel(0)))  # nobody minds while tracking is off


def test_a_level_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="usage_tracking"):
        UsageTracker(Kernel(12))


def test_importing_brings_no_network_library() -> None:
    import subprocess
    import sys

    code = "import sys, parsl.usage_tracking.usage; print({'socket', 'urllib.request', 'ssl'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "set()\n"
