"""What a radio is: a way for messages to get from where tasks run to monitoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from parsl.loop import Loop


class MonitoringRadioSender(ABC):
    """The end of a radio where tasks run."""

    @abstractmethod
    def send(self, message: Any) -> None:
        """Send a message: a pair of a `MessageType` and a dict."""


class MonitoringRadioReceiver(ABC):
    """The end of a radio on the side of the kernel."""

    @abstractmethod
    def shutdown(self) -> None:
        """Take in what has come, and listen no more."""


class RadioConfig(ABC):
    """How messages of an executor's tasks come to monitoring.

    The kernel asks for a receiver first, which may complete this object (with the port that it listens on, a key). Then
    the object is pickled to where tasks run, and asked for a sender there.
    """

    @abstractmethod
    def create_sender(self) -> MonitoringRadioSender:
        """Make the sending end; where a task runs."""

    @abstractmethod
    def create_receiver(self, *, run_dir: str, resource_msgs: Any) -> MonitoringRadioReceiver:
        """Begin to listen, on the side of the kernel.

        Args:
            run_dir: the run's folder.
            resource_msgs: where messages are put: an object with `put(message)`.
        """


class LoopOfReceiver:
    """The loop on which a receiver waits: that of the kernel, or one of its own where there is none.

    Args:
        resource_msgs: where messages are put; the kernel's has its loop as `loop`.
        name: name of a loop of its own.
    """

    def __init__(self, resource_msgs: Any, name: str) -> None:
        given: Loop | None = getattr(resource_msgs, "loop", None)
        self._own = None if given is not None else Loop(name)
        self.loop: Loop = given or self._own or Loop(name)
        if self._own is not None:
            self._own.start()

    def close(self) -> None:
        """End a loop of its own."""
        if self._own is not None:
            self._own.stop()
            self._own.join()
