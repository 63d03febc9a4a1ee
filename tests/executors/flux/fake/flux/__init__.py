"""A stand-in for flux-python, in as far as the Flux executor uses it: jobs are processes of this host.

It follows the interface of flux-core's Python bindings: what `flux.job.FluxExecutor` and its futures do is written
after their documentation. FAKE_FLUX_CORES says how many cores the instance has; jobs wait for free ones, in order.
"""

from __future__ import annotations

import os
import threading
from collections import deque


class Broker:
    """The resources of the instance, and its queue of jobs."""

    def __init__(self):
        self.lock = threading.Condition()
        self.free = int(os.environ.get("FAKE_FLUX_CORES", "2"))
        self.queue = deque()
        self.jobs = {}
        self.next_id = 1


BROKER = Broker()


class Flux:
    """A connection to the instance; belongs to the thread that made it."""

    def __init__(self, url=None):
        if "FAKE_FLUX" not in os.environ:
            raise FileNotFoundError(2, "Unable to connect to Flux")
        self._thread = threading.get_ident()

    def check(self):
        assert threading.get_ident() == self._thread, "a connection was used by two threads"
