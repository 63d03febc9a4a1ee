"""Spans and metrics of a run for the tools that a site has already: OpenTelemetry and Prometheus.

`MonitoringHub(telemetry=Telemetry(...))` turns it on. All happens in the database process, from the records that go
into the database: the kernel and the workers do nothing more for it.
"""

from __future__ import annotations

import importlib.util
import pickle
import socket
from collections.abc import Callable
from typing import Any

from parsl.errors import OptionalModuleMissing
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

__all__ = ["Telemetry"]

NEEDS = "Telemetry needs it: pip install 'parsl[telemetry]'"


class Telemetry(RepresentationMixin):
    """What is to be told to OpenTelemetry and Prometheus.

    Args:
        spans: send the life of each task as a trace: submit, wait, queue, run. It goes by OTLP to where the standard
            variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`; http://localhost:4318 by default), unless there is an
            exporter.
        exporter: makes an OpenTelemetry `SpanExporter`; a function of a module, since another process calls it.
        share: share of the tasks that have a trace, above 0, up to 1.
        metrics_port: TCP port at which Prometheus finds metrics, under `/metrics`, as long as the run goes on; None for
            none.
        metrics_address: the address at which that port listens. Whoever can reach it can read names of apps and counts.

    Raises:
        TypeError: when an argument is of a wrong type.
        ValueError: when a value is out of its range, or nothing is to be told.
    """

    @check_types
    def __init__(
        self,
        spans: bool = True,
        exporter: Callable[[], Any] | None = None,
        share: float | int = 1.0,
        metrics_port: int | None = None,
        metrics_address: str = "127.0.0.1",
    ) -> None:
        self.spans = spans
        self.exporter = exporter
        self.share = share
        self.metrics_port = metrics_port
        self.metrics_address = metrics_address
        if not 0 < share <= 1:
            raise ValueError(f"Telemetry: parameter 'share' must be above 0 and at most 1, but got {share!r}")
        if metrics_port is not None and not 0 < metrics_port < 65536:
            raise ValueError(f"Telemetry: parameter 'metrics_port' must be 1 to 65535, but got {metrics_port!r}")
        if not spans and metrics_port is None:
            raise ValueError("Telemetry: there is nothing to tell: give spans=True or a metrics_port")

    def check(self) -> None:
        """See that it can be had, before the run begins.

        Raises:
            OptionalModuleMissing: when a library is not installed.
            OSError: when the port is taken, or the address is none of this host.
            ValueError: when the exporter cannot be made in another process.
        """
        try:
            pickle.dumps(self.exporter)
        except Exception as e:
            raise ValueError(
                f"Telemetry: parameter 'exporter' must be a function of a module, but {self.exporter!r} cannot be sent "
                f"to another process: {e}"
            ) from e
        needed = []
        if self.spans:
            needed += ["opentelemetry.sdk"] if self.exporter else ["opentelemetry.sdk", "opentelemetry.exporter.otlp"]
        if self.metrics_port is not None:
            needed.append("prometheus_client")
        missing = [name for name in needed if not _is_there(name)]
        if missing:
            raise OptionalModuleMissing(missing, NEEDS)
        if self.metrics_port is not None:
            family = socket.AF_INET6 if ":" in self.metrics_address else socket.AF_INET
            with socket.socket(family) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    tried.bind((self.metrics_address, self.metrics_port))
                except OSError as e:
                    where = f"{self.metrics_address}:{self.metrics_port}"
                    raise OSError(e.errno, f"Telemetry: metrics cannot be served at {where}: {e.strerror}") from e


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # what it is part of is not there
