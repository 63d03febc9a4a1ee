"""What the database process does for telemetry: hands it the records that are in the database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from parsl.monitoring import records
from parsl.monitoring.telemetry.lives import Life, Lives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsl.monitoring.records import Record
    from parsl.monitoring.telemetry import Telemetry
    from parsl.monitoring.telemetry.metrics import Metrics
    from parsl.monitoring.telemetry.spans import Spans

logger = logging.getLogger(__name__)


class Teller:
    """Tells OpenTelemetry and Prometheus of a run. What goes wrong here is logged, and costs the database nothing.

    Args:
        telemetry: what is to be told.
        run_id: the run.
    """

    def __init__(self, telemetry: Telemetry, run_id: str) -> None:
        self._telemetry = telemetry
        self._run_id = run_id
        self._spans: Spans | None = None
        self._metrics: Metrics | None = None
        self._lives = Lives(self._ended, self._came)
        if telemetry.metrics_port is not None:
            try:
                from parsl.monitoring.telemetry.metrics import Metrics

                self._metrics = Metrics()
                self._metrics.serve(telemetry.metrics_address, telemetry.metrics_port)
            except Exception:
                logger.exception("Metrics cannot be served; the run goes on without")

    def take(self, batch: Sequence[Record]) -> None:
        """Tell of the records of a batch that is in the database."""
        try:
            for record in batch:
                if record[0] == records.BEGAN and self._spans is None and self._telemetry.spans:
                    self._begin_spans(record[1])
                elif self._metrics is not None and record[0] == records.BLOCK:
                    self._metrics.block(record[1])
                elif self._metrics is not None and record[0] == records.NODE:
                    self._metrics.node(record[1])
            self._lives.take(batch)
        except Exception:
            logger.exception("Telemetry of %d records failed", len(batch))

    def go_on(self, workflow: str | None) -> None:
        """Go on with a run whose beginning another process has told of; None for a run that begins now."""
        if workflow is not None and self._telemetry.spans:
            self._begin_spans({"workflow_name": workflow})

    def _begin_spans(self, facts: dict[str, Any]) -> None:
        from parsl.monitoring.telemetry.spans import Spans, otlp_processor

        make = self._telemetry.exporter
        processor = otlp_processor(None if make is None else make())
        self._spans = Spans(self._run_id, facts.get("workflow_name") or "parsl", processor)

    def _came(self, app: str | None) -> None:
        if self._metrics is not None:
            self._metrics.came(app)

    def _ended(self, life: Life) -> None:
        if self._metrics is not None:
            self._metrics.tell(life)
        if self._spans is not None:
            from parsl.monitoring.telemetry.spans import is_chosen

            if is_chosen(self._run_id, life.task, self._telemetry.share):
                self._spans.tell(life)

    def close(self) -> None:
        """Send what has gathered, and end."""
        try:
            if self._spans is not None and not self._spans.close():
                logger.warning("The last spans could not be sent: nobody takes them")
            if self._metrics is not None:
                self._metrics.close()
        except Exception:
            logger.exception("Telemetry did not end cleanly")
