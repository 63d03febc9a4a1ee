"""Spans and metrics of runs: the lives of tasks from records, the traces and numbers that are told of them."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import threading
import time
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.states import States
from parsl.errors import OptionalModuleMissing
from parsl.executors.threads import ThreadPoolExecutor
from parsl.monitoring import MonitoringHub
from parsl.monitoring.records import (
    BEGAN,
    COMPLETED,
    ENDED,
    FAILED,
    LAUNCHED,
    MOVED,
    RAN,
    SAMPLED,
    SUBMITTED,
    Usage,
    WorkerFacts,
    encode,
    encode_short,
    encode_usage,
)
from parsl.monitoring.telemetry import Telemetry
from parsl.monitoring.telemetry.lives import Lives
from parsl.monitoring.telemetry.teller import Teller
from tests.live.pilot import htex, wait_for
from tests.monitoring.databases import select

DONE, BAD, RETRY, PENDING, JOINING = (
    int(s) for s in (States.exec_done, States.failed, States.fail_retryable, States.pending, States.joining)
)
FACTS = encode(tuple(WorkerFacts("0", "node1", 77, 1, 1, 0.1)))

# A task that fails once, is tried again and ends well; it depends on task 3.
RETRIED = [
    (SUBMITTED, 5, 100.0, "fit", "htex", None, (0, 0, "3", None, None, None, None, None)),
    (LAUNCHED, 5, 0, 101.0, "htex", None),
    (MOVED, 5, 0, 103.0, RETRY, "ValueError('no')", None, encode_short(102.0, 102.5, 0.25, FACTS)),
    (MOVED, 5, 1, 103.0, PENDING, None, None, None),
    (LAUNCHED, 5, 1, 104.0, "htex", None),
    (SAMPLED, 5, 1, encode_usage(Usage(106.0, started=105.0, hostname="node2", block="1", pid=8, user=1.0))),
    (ENDED, 5, 1, 109.0, DONE, 1, 1.0, None, "fit", 5.0,
     encode_usage(Usage(108.0, started=105.0, ended=108.0, hostname="node2", block="1", pid=8, user=2.0, system=1.0))),
]  # fmt: skip
FAILS = [
    (SUBMITTED, 6, 100.0, "fit", "threads", 100.5, None),
    (ENDED, 6, 0, 101.0, BAD, 1, 1.0, None, "fit", 0.5, None),
    (FAILED, 6, 0, "ValueError", "bad input", "Traceback ..."),
]
RUNS = (RAN, 7, "quick", "htex", 100.0, 100.25, 101.0, DONE, encode_short(100.5, 100.75, 0.125, FACTS))


def lives(*batches):
    ended, came = [], []
    made = Lives(ended.append, came.append)
    for batch in batches:
        made.take(batch)
    return ended, came


# -- lives ---------------------------------------------------------------------------------------------------------


def test_a_task_that_ran_through():
    (life,), came = lives([RUNS])
    assert came == ["quick"]
    assert (life.task, life.app, life.state) == (7, "quick", States.exec_done)
    assert (life.invoked, life.returned) == (100.0, 101.0)
    a_try = life.tries[0]
    assert (a_try.launched, a_try.running, a_try.running_ended, a_try.returned) == (100.25, 100.5, 100.75, 101.0)
    assert (a_try.hostname, a_try.block, a_try.pid, a_try.cpu) == ("node1", "0", 77, 0.125)


def test_a_task_that_was_tried_again():
    (life,), _ = lives(RETRIED)
    assert (life.depends, sorted(life.tries)) == ([3], [0, 1])
    first, second = life.tries[0], life.tries[1]
    assert (first.error, first.hostname, first.returned) == ("ValueError('no')", "node1", 103.0)
    assert (second.error, second.running, second.running_ended, second.cpu) == (None, 105.0, 108.0, 3.0)


def test_a_failure_waits_for_its_error():
    (life,), _ = lives(FAILS)
    assert (life.state, life.kind, life.message, life.traceback) == (
        States.failed, "ValueError", "bad input", "Traceback ...",
    )  # fmt: skip


def test_a_failure_without_an_error_is_told_all_the_same():
    assert lives(FAILS[:2])[0] == []
    ended, _ = lives(FAILS[:2], [RUNS])
    assert [(life.task, life.kind) for life in ended] == [(7, None), (6, None)]
    ended, _ = lives([*FAILS[:2], (COMPLETED, 200.0)])
    assert [life.task for life in ended] == [6]


def test_a_task_whose_beginning_another_process_has_told():
    (life,), came = lives([(ENDED, 9, 0, 109.0, DONE, 0, 0.0, None, "late", 5.0, None)])
    assert came == []
    assert (life.app, life.invoked, life.tries[0].launched, life.returned) == ("late", None, 104.0, 109.0)


def test_a_join():
    (life,), _ = lives([
        (SUBMITTED, 1, 10.0, "j", "_parsl_internal", 11.0, (0, 1, None, None, None, None, None, None)),
        (MOVED, 1, 0, 12.0, JOINING, None, "2,3", None),
        (ENDED, 1, 0, 20.0, DONE, 0, 0.0, None, "j", None, None),
    ])  # fmt: skip
    assert (life.joining, life.tries[0].returned, life.returned) == (12.0, 12.0, 20.0)


def test_what_cannot_be_read_is_left_out():
    ended, _ = lives([(SUBMITTED, 1), (ENDED, "?"), (SAMPLED, 5, 0, b"\xff"), RUNS])
    assert [life.task for life in ended] == [7]


@given(st.lists(st.integers(0, len(RETRIED) - 1), max_size=4))
def test_where_batches_are_cut_makes_no_difference(cuts):
    pieces, last = [], 0
    for cut in [*sorted(cuts), len(RETRIED)]:
        pieces.append(RETRIED[last:cut])
        last = cut
    (life,), _ = lives(*pieces)
    (whole,), _ = lives(RETRIED)
    for number in whole.tries:
        for name in ("launched", "running", "running_ended", "returned", "cpu", "error", "hostname"):
            assert getattr(life.tries[number], name) == getattr(whole.tries[number], name)


# -- spans ---------------------------------------------------------------------------------------------------------


def spans_of(*batch, run_id="run-1"):
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from parsl.monitoring.telemetry.spans import Spans

    exporter = InMemorySpanExporter()
    made = Spans(run_id, "census", SimpleSpanProcessor(exporter))
    for life in lives(batch)[0]:
        made.tell(life)
    found = exporter.get_finished_spans()
    assert made.close()
    return {span.name: span for span in found}, found


def seconds(span):
    return span.start_time / 1e9, span.end_time / 1e9


def test_the_trace_of_a_task():
    pytest.importorskip("opentelemetry.sdk")
    named, found = spans_of(RUNS)
    assert sorted(named) == ["queue", "quick", "run", "wait"]
    assert [seconds(named[name]) for name in ("quick", "wait", "queue", "run")] == [
        (100.0, 101.0), (100.0, 100.25), (100.25, 100.5), (100.5, 100.75),
    ]  # fmt: skip
    root = named["quick"]
    assert {span.context.trace_id for span in found} == {root.context.trace_id}
    assert {span.parent.span_id for span in found if span is not root} == {root.context.span_id}
    assert len({span.context.span_id for span in found}) == 4
    assert root.attributes["parsl.state"] == "exec_done"
    assert (named["run"].attributes["host.name"], named["run"].attributes["process.pid"]) == ("node1", 77)
    assert root.resource.attributes["service.name"] == "census"
    assert root.status.is_ok


def test_tries_and_links():
    pytest.importorskip("opentelemetry.sdk")
    from parsl.monitoring.telemetry.spans import ids

    named, found = spans_of(*RETRIED)
    assert sorted(span.name for span in found) == ["fit", "queue", "queue", "run", "run", "wait"]
    failed = [span for span in found if not span.status.is_ok]
    assert [(span.name, span.status.description) for span in failed] == [("run", "ValueError('no')")]
    (link,) = named["fit"].links
    assert (link.context.trace_id, link.context.span_id) == ids("run-1", 3)
    assert ids("run-1", 3) != ids("run-2", 3)


def test_a_failure_in_a_trace():
    pytest.importorskip("opentelemetry.sdk")
    named, _ = spans_of(*FAILS)
    assert sorted(named) == ["execute", "fit", "wait"]
    root = named["fit"]
    assert (root.status.is_ok, root.status.description) == (False, "bad input")
    (event,) = root.events
    assert event.attributes["exception.type"] == "ValueError"
    assert event.attributes["exception.stacktrace"] == "Traceback ..."


def test_a_share_of_the_tasks():
    pytest.importorskip("opentelemetry.sdk")
    from parsl.monitoring.telemetry.spans import is_chosen

    chosen = sum(is_chosen("run", task, 0.1) for task in range(5000))
    assert 400 < chosen < 600
    assert all(is_chosen("run", task, 1) for task in range(10))


# -- metrics -------------------------------------------------------------------------------------------------------


def metrics_of(*batch):
    from parsl.monitoring.telemetry.metrics import Metrics

    made = Metrics()
    Lives(made.tell, made.came).take(batch)
    return made


def test_metrics_count_tasks():
    pytest.importorskip("prometheus_client")
    waits = (SUBMITTED, 8, 1.0, "quick", "htex", None, None)
    value = metrics_of(*RETRIED, *FAILS, RUNS, waits).registry.get_sample_value
    assert value("parsl_tasks_submitted_total", {"app": "fit"}) == 2
    assert value("parsl_tasks_ended_total", {"app": "fit", "state": "exec_done"}) == 1
    assert value("parsl_tasks_ended_total", {"app": "fit", "state": "failed"}) == 1
    assert value("parsl_tries_failed_total", {"app": "fit"}) == 2
    assert (value("parsl_tasks_open", {"app": "fit"}), value("parsl_tasks_open", {"app": "quick"})) == (0, 1)
    assert value("parsl_task_cpu_seconds_total", {"app": "fit"}) == 3.25
    assert value("parsl_task_run_seconds_sum", {"app": "quick"}) == 0.25
    assert value("parsl_task_queue_seconds_count", {"executor": "htex"}) == 3


def test_metrics_of_blocks_and_nodes():
    pytest.importorskip("prometheus_client")
    made = metrics_of()
    value = made.registry.get_sample_value
    for number, status in (("0", "PENDING"), ("1", "PENDING"), ("0", "RUNNING")):
        made.block({"executor": "htex", "block": number, "status": status})
    assert value("parsl_blocks", {"executor": "htex", "status": "PENDING"}) == 1
    assert value("parsl_blocks", {"executor": "htex", "status": "RUNNING"}) == 1
    for uid, active in (("a", 1), ("b", 1), ("a", 0)):
        made.node({"uid": uid, "executor": "htex", "active": active, "worker_count": 4})
    assert value("parsl_workers", {"executor": "htex"}) == 4


# -- the object that users make ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"share": 0},
    {"share": 1.5},
    {"share": float("nan")},
    {"metrics_port": 0},
    {"metrics_port": 70000},
    {"spans": False},
])  # fmt: skip
def test_values_out_of_range(options):
    with pytest.raises(ValueError, match="Telemetry: "):
        Telemetry(**options)


def test_a_port_that_is_taken_is_told_at_the_start():
    pytest.importorskip("prometheus_client")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            Telemetry(spans=False, metrics_port=port).check()


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("parsl.monitoring.telemetry._is_there", lambda module: False)
    with pytest.raises(OptionalModuleMissing, match=r"parsl\[telemetry\]"):
        Telemetry().check()


def test_an_exporter_that_cannot_travel():
    with pytest.raises(ValueError, match="function of a module"):
        Telemetry(exporter=lambda: None).check()


def test_trouble_costs_nobody_anything(caplog):
    pytest.importorskip("opentelemetry.sdk")
    teller = Teller(Telemetry(exporter=broken_exporter), "run-1")
    teller.take([(BEGAN, {"workflow_name": "x"}), RUNS])
    assert "Telemetry of 2 records failed" in caplog.text
    teller.close()


def broken_exporter():
    raise RuntimeError("no collector")


# -- runs ----------------------------------------------------------------------------------------------------------


def file_exporter():
    """Write each span as a line to the file that the environment names: for another process."""
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    def line(span):
        return json.dumps({"name": span.name, "task": (span.attributes or {}).get("parsl.task")}) + "\n"

    return ConsoleSpanExporter(out=open(os.environ["PARSL_TEST_SPANS"], "a", encoding="utf-8"), formatter=line)


def kernel(folder, executor, telemetry):
    hub = MonitoringHub(workflow_name="test", telemetry=telemetry)
    return DataFlowKernel(Config(executors=[executor], run_dir=str(folder), strategy="none", monitoring=hub))


def test_a_run_of_the_pilot_sends_its_spans(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("PARSL_TEST_SPANS", str(tmp_path / "spans"))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    with kernel(tmp_path, htex(), Telemetry(exporter=file_exporter)) as made:
        app = python_app(abs, data_flow_kernel=made)
        assert [f.result() for f in [app(-i) for i in range(5)]] == list(range(5))
    lines = [json.loads(line) for line in (tmp_path / "spans").read_text().splitlines()]
    assert sorted(line["task"] for line in lines if line["name"] == "abs") == list(range(5))
    assert {line["name"] for line in lines} == {"abs", "wait", "queue", "run"}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_metrics_of_a_run_can_be_scraped(tmp_path):
    pytest.importorskip("prometheus_client")
    port = free_port()
    entered, leave = threading.Event(), threading.Event()
    threads = ThreadPoolExecutor(label="threads", max_threads=1)
    with kernel(tmp_path, threads, Telemetry(spans=False, metrics_port=port)) as made:

        def wait():
            entered.set()
            leave.wait(60)

        future = python_app(wait, data_flow_kernel=made)()
        entered.wait(60)
        # The task is told of once it has been under way for a moment.
        deadline = threading.Event()
        text = ""
        for _ in range(300):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                text = answer.read().decode()
            if 'parsl_tasks_open{app="wait"} 1.0' in text:
                break
            deadline.wait(0.1)
        leave.set()
        future.result()
    assert 'parsl_tasks_submitted_total{app="wait"} 1.0' in text
    assert 'parsl_tasks_open{app="wait"} 1.0' in text


def test_a_run_sends_by_otlp(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    got: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        try:
            with kernel(tmp_path, ThreadPoolExecutor(label="threads"), Telemetry()) as made:
                python_app(abs, data_flow_kernel=made)(-1).result()
        finally:
            server.shutdown()
            thread.join()
    (path, body), *_ = got
    assert path == "/v1/traces"
    assert b"parsl.task" in body
    assert b"exec_done" in body


def test_a_killed_database_process_goes_on_telling(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("PARSL_TEST_SPANS", str(tmp_path / "spans"))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    with kernel(tmp_path, ThreadPoolExecutor(label="threads"), Telemetry(exporter=file_exporter)) as made:
        app = python_app(abs, data_flow_kernel=made)
        app(-1).result()
        wait_for(lambda: made.monitoring._database.pid)
        wait_for(lambda: select(tmp_path / "monitoring.db", "SELECT count(*) FROM parsl_task") == [(1,)])
        killed = made.monitoring._database.pid
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: made.monitoring._database.pid not in {None, killed})
        app(-2).result()
    told = [json.loads(line) for line in (tmp_path / "spans").read_text().splitlines()]
    assert 1 in {line["task"] for line in told if line["name"] == "abs"}
    assert select(tmp_path / "monitoring.db", "SELECT count(*) FROM parsl_task") == [(2,)]


def test_a_collector_that_does_not_answer_holds_up_nobody(tmp_path, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with kernel(tmp_path, ThreadPoolExecutor(label="threads"), Telemetry()) as made:
            assert [f.result() for f in map(python_app(abs, data_flow_kernel=made), range(100))] == list(range(100))
            ends = time.monotonic()
        assert time.monotonic() - ends < 30
    assert select(tmp_path / "monitoring.db", "SELECT count(*) FROM parsl_task") == [(100,)]
    assert "The last spans could not be sent" in next(tmp_path.glob("*/database_manager.log")).read_text()
