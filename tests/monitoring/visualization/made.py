"""Runs for tests of queries and pages, written straight into a database; and the page over it, served."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from parsl.dataflow.states import States
from parsl.monitoring.records import (
    BEGAN,
    BLOCK,
    COMPLETED,
    EDGES,
    ENDED,
    FAILED,
    LAUNCHED,
    MOVED,
    NODE,
    SUBMITTED,
    Record,
    Usage,
    encode_usage,
)  # fmt: skip
from parsl.monitoring.rows import Rows, Workers
from parsl.monitoring.store import Store
from parsl.monitoring.totals import Totals
from parsl.monitoring.visualization.server import Server, listen
from parsl.monitoring.visualization.source import Source

BEGIN = 1_000_000.0

EVIL = "<script>document.title='owned'</script>"


def usage(began: float, ended: float, pid: int = 1, host: str = "node-1", cpu: float = 0.5) -> bytes:
    return encode_usage(Usage(ended, began, ended, "0", host, pid, cpu, 0.0, 100 << 20))


def began(**facts: object) -> Record:
    known = {"workflow_name": "census", "began": BEGIN, "host": "here", "user_name": "me", "rundir": "/nowhere"}
    return (BEGAN, known | {"python_version": "3.11", "parsl_version": "1", "interval": 1.0} | facts)


def submitted(task: int, app: str = "app", at: float = BEGIN + 1, depends: str | None = None, **more: object) -> Record:
    names = ("memoize", "is_join", "depends", "inputs", "outputs", "stdin", "stdout", "stderr")
    values = {"memoize": 0, "is_join": 0, "depends": depends} | more
    return (SUBMITTED, task, at, app, "htex", None, [values.get(name) for name in names])


def ran(
    task: int,
    app: str = "app",
    start: float = BEGIN + 2,
    end: float = BEGIN + 3,
    state: States = States.exec_done,
    **where: object,
) -> list[Record]:
    used = usage(start, end, **where)
    return [
        (LAUNCHED, task, 0, start - 0.5, "htex", None),
        (ENDED, task, 0, end, int(state), 0, 0.0, None, app, end - start + 0.5, used, "htex"),
    ]


def failed(task: int, kind: str, message: str, traceback: str | None = "Traceback: here") -> Record:
    return (FAILED, task, 0, kind, message, traceback)


def not_run(task: int, app: str = "app", at: float = BEGIN + 4) -> Record:
    return (ENDED, task, 0, at, int(States.dep_fail), 0, 0.0, None, app, None, None, "htex")


def joining(task: int, joins: str, at: float = BEGIN + 3) -> Record:
    return (MOVED, task, 0, at, int(States.joining), None, joins, None, "start", "htex", 0.5)


def edges(app: str, join: int = 0, **numbers: int) -> Record:
    return (EDGES, app, join, numbers)


def block(name: str, status: str, at: float = BEGIN + 1) -> Record:
    return (BLOCK, {"at": at, "executor": "htex", "block": name, "job": f"job-{name}", "status": status})


def manager(uid: str, what: str, active: int, at: float = BEGIN + 1) -> Record:
    facts = {"at": at, "uid": uid, "hostname": "node-1", "executor": "htex", "block": "0", "cpu_count": 8}
    return (NODE, facts | {"total_memory": 16 << 30, "active": active, "worker_count": 2, "what": what})


def completed(at: float = BEGIN + 10) -> Record:
    return (COMPLETED, at)


class Writer:
    """Writes runs as the database process does."""

    def __init__(self, url: str) -> None:
        self._store = Store(url)
        self._store.prepare()
        self._known: dict[str, tuple[Workers, Totals]] = {}

    def write(self, *records: Record, run_id: str = "run-1") -> None:
        run, segment, position, last = self._store.open_run(run_id)
        rows = Rows(run, *self._known.setdefault(run_id, (Workers(last), Totals())))
        rows.add(records)
        self._store.write(run_id, rows, segment, position + 1)

    def close(self) -> None:
        self._store.close()


def write(url: str, *records: Record, run_id: str = "run-1") -> None:
    writer = Writer(url)
    writer.write(*records, run_id=run_id)
    writer.close()


def a_run() -> list[Record]:
    """A run that has all: apps, failures with hostile texts, a join, dependencies, blocks, managers."""
    return [
        began(),
        block("0", "RUNNING"),
        manager("m1", "registered", 1),
        *(submitted(task, "simulate") for task in range(4)),
        submitted(4, "collect", depends="0,1,2,3"),
        edges("collect", simulate=4),
        submitted(5, EVIL, depends="4"),
        edges(EVIL, collect=1),
        submitted(6, "start", is_join=1),
        submitted(7, "late"),
        *ran(0, "simulate"),
        *ran(1, "simulate", BEGIN + 2, BEGIN + 5, pid=2),
        *ran(2, "simulate", state=States.failed),
        failed(2, "ValueError", f"ValueError({EVIL!r})", f"Traceback (most recent call last):\n{EVIL}\nValueError"),
        *ran(3, "simulate", state=States.failed, pid=2),
        failed(3, "ValueError", f"ValueError({EVIL!r})", "Traceback"),
        not_run(4, "collect"),
        failed(4, "DependencyError", "task 2 failed", None),
        (LAUNCHED, 6, 0, BEGIN + 2.5, "htex", None),
        joining(6, "0,1"),
        edges("start", 1, simulate=2),
    ]


# -- served ------------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


class Client:
    def __init__(self, base: str, source: Source) -> None:
        self.base = base
        self.source = source

    def get(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=60)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()


@contextlib.contextmanager
def serving(url: str, token: str | None = None, look_seconds: float = 0.05) -> Iterator[Client]:
    """Serve the page over a database, from a thread."""
    listening = listen("127.0.0.1", 0)
    source = Source(url, look_seconds)
    server = Server(source, token, listening)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve_listening()))
    thread.start()
    try:
        yield Client(f"http://127.0.0.1:{listening.getsockname()[1]}", source)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
