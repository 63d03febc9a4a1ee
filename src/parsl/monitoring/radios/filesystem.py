"""The file-system radio: a file for each message, in a folder that nodes and kernel share.

No system tells of files that another host makes on a shared file system, so the receiver looks, each second.
"""

from __future__ import annotations

import logging
import os
import pickle
import uuid
from typing import Any

from parsl.loop import Loop, Timer
from parsl.monitoring.radios.base import LoopOfReceiver, MonitoringRadioReceiver, MonitoringRadioSender, RadioConfig
from parsl.representation import RepresentationMixin

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


def folders(run_dir: str) -> tuple[str, str]:
    """Return the folder in which a message is written, and the one into which it is moved when it is complete."""
    folder = os.path.join(os.path.abspath(run_dir), "monitoring", "radio")
    return os.path.join(folder, "tmp"), os.path.join(folder, "new")


class FilesystemRadio(RadioConfig, RepresentationMixin):
    """Messages as files in the run folder, which the nodes of the executor have to share with the kernel."""

    def __init__(self) -> None:
        self.run_dir: str | None = None

    def create_sender(self) -> MonitoringRadioSender:
        """Make the sending end.

        Raises:
            RuntimeError: when there is no receiver whose folder it could use.
        """
        if self.run_dir is None:
            raise RuntimeError("this FilesystemRadio has no receiver yet, whose folder a sender needs")
        return FilesystemRadioSender(run_dir=self.run_dir)

    def create_receiver(self, *, run_dir: str, resource_msgs: Any) -> FilesystemRadioReceiver:
        """Look for messages in the run's folder."""
        self.run_dir = os.path.abspath(run_dir)
        return FilesystemRadioReceiver(run_dir, resource_msgs)


class FilesystemRadioSender(MonitoringRadioSender):
    """Writes files.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, *, run_dir: str) -> None:
        self._tmp, self._new = folders(run_dir)
        os.makedirs(self._tmp, exist_ok=True)
        os.makedirs(self._new, exist_ok=True)

    def send(self, message: Any) -> None:
        """Write a message; the receiver sees it whole or not at all."""
        name = str(uuid.uuid4())
        path = os.path.join(self._tmp, name)
        with open(path, "wb") as file:
            pickle.dump(message, file)
        os.rename(path, os.path.join(self._new, name))


class FilesystemRadioReceiver(MonitoringRadioReceiver):
    """Looks for files.

    Args:
        run_dir: the run's folder.
        resource_msgs: where messages are put.
    """

    def __init__(self, run_dir: str, resource_msgs: Any) -> None:
        self._messages = resource_msgs
        tmp, self._new = folders(run_dir)
        os.makedirs(tmp, mode=0o700, exist_ok=True)
        os.makedirs(self._new, mode=0o700, exist_ok=True)
        self._on = LoopOfReceiver(resource_msgs, "filesystem-radio")
        self._timer: Timer | None = None
        self._on.loop.call(self._look)

    def _look(self) -> None:
        self._timer = self._on.loop.call_later(LOOK_SECONDS, self._look)
        self._read()

    def _read(self) -> None:
        for name in os.listdir(self._new):
            path = os.path.join(self._new, name)
            try:
                with open(path, "rb") as file:
                    # In a folder that only the user may write to.
                    message = pickle.load(file)  # noqa: S301 - see above
            except Exception:
                logger.exception("Monitoring message %s cannot be read and is dropped", path)
            else:
                self._messages.put(message)
            os.unlink(path)

    def shutdown(self) -> None:
        """Take in what has come, and look no more."""
        self._on.loop.call(self._end)
        self._on.close()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._read()


def filesystem_receiver(q: Any, run_dir: str) -> None:
    """Put the messages of a run's file-system radio into a queue, until the process ends; for code of release 2024.12.

    Args:
        q: an object with `put(message)`.
        run_dir: the run's folder.
    """
    loop = Loop("filesystem-radio")

    class Messages:
        put = staticmethod(q.put)

    messages = Messages()
    messages.loop = loop  # type: ignore[attr-defined]  # what `LoopOfReceiver` looks for
    loop.post(FilesystemRadioReceiver, run_dir, messages)
    loop.run()
