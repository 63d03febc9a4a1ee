"""The radio of the pilot: messages go with the worker's results, over the connection that is there."""

from __future__ import annotations

from typing import Any

from parsl.monitoring import outlet
from parsl.monitoring.radios.base import MonitoringRadioReceiver, MonitoringRadioSender, RadioConfig
from parsl.monitoring.records import encode
from parsl.representation import RepresentationMixin

# The kind of these messages among those of the pilot, see `node_watch`.
_MESSAGE = 2


class HTEXRadio(RadioConfig, RepresentationMixin):
    """Messages over the executor's own connection; for HighThroughputExecutor and MPIExecutor, and their default."""

    def create_sender(self) -> MonitoringRadioSender:
        """Make the sending end; on a worker of the executor."""
        return HTEXRadioSender()

    def create_receiver(self, *, run_dir: str, resource_msgs: Any) -> HTEXRadioReceiver:
        """Make a receiver that has nothing to do: the executor hands messages on by itself."""
        del run_dir, resource_msgs
        return HTEXRadioReceiver()


class HTEXRadioSender(MonitoringRadioSender):
    """Sends through the worker."""

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            RuntimeError: anywhere but on a worker whose executor is monitored.
        """
        if outlet.send is None:
            raise RuntimeError("HTEXRadio can be used on workers of a monitored HighThroughputExecutor only")
        kind, body = message
        outlet.send(encode((_MESSAGE, (kind.value, body))))


class HTEXRadioReceiver(MonitoringRadioReceiver):
    """Receives nothing by itself."""

    def shutdown(self) -> None:
        """Do nothing: the executor ends by itself."""
