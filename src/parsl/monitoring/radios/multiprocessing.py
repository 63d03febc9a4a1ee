"""The radio of one host: messages through a queue that both sides hold."""

from __future__ import annotations

from typing import Any

from parsl.monitoring.radios.base import MonitoringRadioSender


class MultiprocessingQueueRadioSender(MonitoringRadioSender):
    """Puts messages into a queue.

    Args:
        queue: anything with `put(message)`.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    def send(self, message: Any) -> None:
        """Put a message into the queue."""
        self.queue.put(message)
