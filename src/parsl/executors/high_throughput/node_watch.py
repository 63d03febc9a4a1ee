"""What a manager tells monitoring: its node, and samples of what its workers' calls use.

One look at the node's processes serves all workers, on the manager's timer. What a call has used at its end is measured
by the worker itself, and comes with the result.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from typing import Any, Protocol

from parsl.loop import Loop
from parsl.monitoring.records import encode, encode_usage
from parsl.monitoring.sampler import Sampler

# The kinds of messages: of a node, of samples, of a task's own radio.
NODE, SAMPLES, MESSAGE = range(3)


class Node(Protocol):
    """What is asked of the manager."""

    uid: Any

    def calls_now(self) -> dict[int, tuple[int, tuple[float, float, float]]]:
        """Return for each worker's process the call that it runs, when it began and the CPU times until then."""

    def send_monitoring(self, body: bytes) -> None:
        """Send a monitoring message."""


class NodeWatch:
    """Tells of the node at once and when its first worker is ready, and of calls each `interval` seconds.

    Args:
        node: the manager.
        loop: its loop.
        interval: seconds between two looks; 0 for none.
        block_id: number of the block.
    """

    def __init__(self, node: Node, loop: Loop, interval: float, block_id: str) -> None:
        self._node = node
        self._loop = loop
        self._interval = interval
        self._block_id = block_id
        self._hostname = socket.gethostname()
        self._sampler: Sampler | None = None
        self._ready = False
        self._tell("registered")
        if interval:
            loop.call_later(interval, self._look)

    def worker_ready(self) -> None:
        """A worker has started."""
        if not self._ready:
            self._ready = True
            self._tell("ready")

    def _tell(self, what: str) -> None:
        import psutil

        facts = {
            "at": time.time(),
            "uid": str(self._node.uid),
            "hostname": self._hostname,
            "block": self._block_id,
            "cpu_count": os.cpu_count(),
            "total_memory": psutil.virtual_memory().total,
            "python_version": platform.python_version(),
            "what": what,
        }
        self._node.send_monitoring(encode((NODE, facts)))

    def _look(self) -> None:
        self._loop.call_later(self._interval, self._look)
        calls = self._node.calls_now()
        if not calls:
            return
        if self._sampler is None:
            self._sampler = Sampler(self._block_id, self._hostname)
        usages = self._sampler.sample({pid: baseline for pid, (_, baseline) in calls.items()})
        # Those that have begun another call meanwhile would be sampled for the wrong one.
        now = self._node.calls_now()
        samples = [(calls[pid][0], encode_usage(usage)) for pid, usage in usages.items() if now.get(pid) == calls[pid]]
        if samples:
            self._node.send_monitoring(encode((SAMPLES, samples)))
