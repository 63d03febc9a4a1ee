"""Tasks as jobs of the Flux resource manager. The executor is in `parsl.executors.flux.executor`."""

from __future__ import annotations

from typing import NamedTuple


class TaskResult(NamedTuple):
    """How the function of a task ended, as the task's Flux job writes it.

    Attributes:
        returnval: the packed result; None when the function raised.
        exception: the packed exception; None when the function returned.
    """

    returnval: bytes | None
    exception: bytes | None
