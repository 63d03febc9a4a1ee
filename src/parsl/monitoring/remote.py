"""The wrapper round a task whose executor does not measure what tasks use: a thread in the worker sends samples."""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.base import MonitoringRadioSender, RadioConfig
from parsl.monitoring.records import Usage, encode_usage
from parsl.monitoring.sampler import Sampler

logger = logging.getLogger(__name__)


class Monitored:
    """A function that sends samples of what it uses while it runs, and one at its end.

    What goes wrong with that is logged in the worker, and is not the task's error.

    Args:
        function: what to call.
        radio: how samples are sent.
        task_id: number of the task, and `try_id` of the try.
        try_id: see there.
        interval: seconds between two samples; 0 for only that at the end.
    """

    def __init__(
        self, function: Callable[..., Any], radio: RadioConfig, task_id: int, try_id: int, interval: float
    ) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function
        self._radio = radio
        self._task_id = task_id
        self._try_id = try_id
        self._interval = interval

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        try:
            watch = _Watch(self._radio.create_sender(), self._task_id, self._try_id, self._interval)
        except Exception:
            logger.exception("Task %d runs without monitoring", self._task_id)
            return self._function(*args, **kwargs)
        try:
            return self._function(*args, **kwargs)
        finally:
            watch.end()


class _Watch:
    def __init__(self, sender: MonitoringRadioSender, task_id: int, try_id: int, interval: float) -> None:
        self._sender = sender
        self._task_id = task_id
        self._try_id = try_id
        self._interval = interval
        self._sampler = Sampler(os.environ.get("PARSL_WORKER_BLOCK_ID"), socket.gethostname())
        self._started = time.time()
        self._ended = threading.Event()
        before = self._sample(0.0, 0.0)
        self._user, self._system = before.user, before.system
        self._thread: threading.Thread | None = None
        if interval:
            self._thread = threading.Thread(target=self._run, name="parsl-monitoring", daemon=True)
            self._thread.start()

    def _sample(self, user: float, system: float) -> Usage:
        pid = os.getpid()
        return self._sampler.sample({pid: (self._started, user, system)})[pid]

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            self._send(None)

    def _send(self, ended: float | None) -> None:
        try:
            usage = self._sample(self._user, self._system)._replace(ended=ended)
            body = {"task_id": self._task_id, "try_id": self._try_id, "usage": encode_usage(usage)}
            self._sender.send((MessageType.RESOURCE_INFO, body))
        except Exception:
            logger.exception("A sample of task %d is not sent", self._task_id)

    def end(self) -> None:
        """Send the last sample."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._send(time.time())
