"""Apps for tests of the kernel."""

from __future__ import annotations

import threading
from typing import Any

from parsl import python_app
from tests.kernels import SOON


@python_app
def add(*numbers: int) -> int:
    """Add numbers."""
    return sum(numbers)


@python_app
def give(value: Any) -> Any:
    """Return what is given."""
    return value


@python_app
def wait_for(event: threading.Event, begun: threading.Event | None = None) -> bool:
    """Run until an event is set; set another at the begin."""
    if begun is not None:
        begun.set()
    return event.wait(SOON)
