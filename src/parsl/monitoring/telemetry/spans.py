"""The life of a task as an OpenTelemetry trace: the task, and in it wait, queue and run of each try."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context

from parsl.dataflow.states import FINAL_FAILURE_STATES
from parsl.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor

    from parsl.monitoring.telemetry.lives import Life, Try

# A batch of the journal may hold so many spans, of some five for each task. What does not fit is dropped by the SDK.
QUEUE = 2**17

# How long the end of a run waits for a collector that does not answer.
_SECONDS_TO_END = 3.0

# Of so many dependencies there are links.
_LINKS = 128


def ids(run_id: str, task: int) -> tuple[int, int]:
    """Return the ids of a task's trace and of its first span: the same for who ever asks."""
    digest = hashlib.blake2b(f"{run_id}/{task}".encode(), digest_size=24).digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:], "big") or 1


def is_chosen(run_id: str, task: int, share: float) -> bool:
    """Tell whether a task is among the share of tasks that have a trace."""
    return share >= 1 or ids(run_id, task)[0] % 10**6 < share * 10**6


class _Ids(IdGenerator):
    """Ids that follow from run and task, and in a trace are counted."""

    def __init__(self) -> None:
        self.trace = self.span = 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        span, self.span = self.span, (self.span + 1) % 2**64 or 1
        return span


class Spans:
    """Makes a trace of each task that has ended.

    Args:
        run_id: the run.
        workflow: the name of the workflow, which becomes `service.name`.
        processor: what takes the spans.
    """

    def __init__(self, run_id: str, workflow: str, processor: SpanProcessor) -> None:
        self._run_id = run_id
        self._ids = _Ids()
        resource = Resource.create({"service.name": workflow, "parsl.run_id": run_id, "parsl.version": VERSION})
        self._provider = TracerProvider(id_generator=self._ids, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("parsl", VERSION)

    def tell(self, life: Life) -> None:
        """Make the trace of a task that has ended."""
        first = min((t.launched for t in life.tries.values() if t.launched is not None), default=life.returned)
        began = life.invoked if life.invoked is not None else first
        if began is None or life.returned is None:
            return  # nothing of it is known but its end
        self._ids.trace, self._ids.span = ids(self._run_id, life.task)
        span = self._tracer.start_span(
            life.app or "task",
            start_time=_ns(began),
            links=[self._link(task) for task in life.depends[:_LINKS]],
            attributes=_known({
                "parsl.task": life.task,
                "parsl.app": life.app,
                "parsl.run_id": self._run_id,
                "parsl.state": life.state.name if life.state is not None else None,
                "parsl.tries": len(life.tries),
            }),
        )  # fmt: skip
        inside = set_span_in_context(span)
        if first is not None:
            self._part("wait", began, first, inside, {})
        for number, a_try in sorted(life.tries.items()):
            self._try(number, a_try, life, inside)
        if life.joining is not None:
            self._part("join", life.joining, life.returned, inside, {})
        if life.state in FINAL_FAILURE_STATES:
            span.set_status(Status(StatusCode.ERROR, life.message))
            names = ("exception.type", "exception.message", "exception.stacktrace")
            event = dict(zip(names, (life.kind, life.message, life.traceback), strict=True))
            span.add_event("exception", _known(event), timestamp=_ns(life.returned))
        span.end(_ns(life.returned))

    def _try(self, number: int, a_try: Try, life: Life, inside: Context) -> None:
        ended = a_try.returned if a_try.returned is not None else life.returned
        launched = a_try.launched
        if launched is None or ended is None:
            return
        attributes = {
            "parsl.try": number,
            "parsl.executor": a_try.executor,
            "host.name": a_try.hostname,
            "process.pid": a_try.pid,
            "parsl.block": a_try.block,
            "parsl.cpu_seconds": a_try.cpu,
        }
        if a_try.running is None:
            # Threads do not say when they begin.
            self._part("execute", launched, ended, inside, attributes, a_try.error)
            return
        self._part("queue", launched, a_try.running, inside, {"parsl.executor": a_try.executor, "parsl.try": number})
        through = a_try.running_ended if a_try.running_ended is not None else ended
        self._part("run", a_try.running, through, inside, attributes, a_try.error)

    def _part(
        self,
        name: str,
        began: float,
        ended: float,
        inside: Context,
        attributes: Mapping[str, Any],
        error: str | None = None,
    ) -> None:
        span = self._tracer.start_span(name, inside, start_time=_ns(began), attributes=_known(attributes))
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        # Clocks of nodes differ.
        span.end(_ns(max(began, ended)))

    def _link(self, task: int) -> Link:
        trace, span = ids(self._run_id, task)
        return Link(SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)))

    def close(self) -> bool:
        """Send what is there, and end; return whether that was done within a few seconds."""
        # On a thread: an exporter goes on trying for longer than that, whatever time it is given.
        ending = threading.Thread(target=self._provider.shutdown, name="telemetry-end", daemon=True)
        ending.start()
        ending.join(_SECONDS_TO_END)
        return not ending.is_alive()


def otlp_processor(exporter: Any = None) -> SpanProcessor:
    """Return what gathers spans and sends them from a thread of its own: to the exporter, or by OTLP over HTTP."""
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    return BatchSpanProcessor(exporter, max_queue_size=QUEUE, max_export_batch_size=2048)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
