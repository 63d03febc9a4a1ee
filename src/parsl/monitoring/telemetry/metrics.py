"""A run as Prometheus metrics."""

from __future__ import annotations

from collections import Counter as Count
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from parsl.dataflow.states import States

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parsl.monitoring.telemetry.lives import Life

_BUCKETS = tuple(step * 10.0**power for power in range(-3, 5) for step in (1, 3))


class Metrics:
    """Counts, gauges and histograms of a run.

    Args:
        registry: where they are registered; None for one of their own.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        options: dict[str, Any] = {"registry": self.registry}
        self._submitted = Counter("parsl_tasks_submitted", "Tasks submitted", ["app"], **options)
        self._ended = Counter("parsl_tasks_ended", "Tasks that have ended", ["app", "state"], **options)
        self._open = Gauge("parsl_tasks_open", "Tasks that have not ended", ["app"], **options)
        self._failed = Counter("parsl_tries_failed", "Tries that have failed", ["app"], **options)
        self._cpu = Counter("parsl_task_cpu_seconds", "CPU time that tries used", ["app"], **options)
        timed = {"buckets": _BUCKETS, **options}
        self._queue = Histogram("parsl_task_queue_seconds", "From a try's launch to its begin", ["executor"], **timed)
        self._run = Histogram("parsl_task_run_seconds", "From the begin of a try to its end", ["app"], **timed)
        self._blocks = Gauge("parsl_blocks", "Blocks in each state", ["executor", "status"], **options)
        self._workers = Gauge("parsl_workers", "Workers of connected nodes", ["executor"], **options)
        self._block_states: dict[tuple[Any, Any], str] = {}
        self._nodes: dict[Any, tuple[str, int]] = {}
        self._server: Any = None

    def serve(self, address: str, port: int) -> None:
        """Answer Prometheus over HTTP, on a thread.

        Raises:
            OSError: when the port cannot be had.
        """
        self._server, _ = start_http_server(port, address, self.registry)

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def came(self, app: str | None) -> None:
        """Count a task that has been submitted."""
        self._submitted.labels(app or "").inc()
        self._open.labels(app or "").inc()

    def tell(self, life: Life) -> None:
        """Count a task that has ended."""
        app = life.app or ""
        self._ended.labels(app, (life.state or States.exec_done).name).inc()
        if life.invoked is not None:
            self._open.labels(app).dec()
        for a_try in life.tries.values():
            if a_try.cpu is not None:
                self._cpu.labels(app).inc(a_try.cpu)
            began = a_try.running if a_try.running is not None else a_try.launched
            ended = a_try.running_ended if a_try.running_ended is not None else a_try.returned
            if began is not None and ended is not None:
                self._run.labels(app).observe(max(0.0, ended - began))
            if a_try.running is not None and a_try.launched is not None:
                self._queue.labels(a_try.executor or "").observe(max(0.0, a_try.running - a_try.launched))
        failed = sum(a_try.error is not None for a_try in life.tries.values()) + (life.state is States.failed)
        if failed:
            self._failed.labels(app).inc(failed)

    def block(self, facts: Mapping[str, Any]) -> None:
        """Take in the status of a block."""
        self._block_states[facts.get("executor"), facts.get("block")] = str(facts.get("status"))
        counts = Count((executor, status) for (executor, _), status in self._block_states.items())
        self._blocks.clear()
        for (executor, status), count in counts.items():
            self._blocks.labels(executor or "", status).set(count)

    def node(self, facts: Mapping[str, Any]) -> None:
        """Take in word of a node."""
        workers = int(facts.get("worker_count") or 0) if facts.get("active") else 0
        self._nodes[facts.get("uid")] = (facts.get("executor") or "", workers)
        sums: Count[str] = Count()
        for executor, count in self._nodes.values():
            sums[executor] += count
        for executor, count in sums.items():
            self._workers.labels(executor).set(count)
