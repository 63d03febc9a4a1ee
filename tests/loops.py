"""Loops under test: their end, and when they have done what they were told."""

from __future__ import annotations

from parsl.loop import Loop

SOON = 10.0
"""Seconds that nothing here takes, unless it is broken."""


def ended(loop: Loop) -> None:
    """End a loop; it has to do so soon."""
    loop.stop()
    assert loop.join(SOON)


def settled(loop: Loop) -> None:
    """Wait until the loop has gone through all that was posted before."""
    loop.call(lambda: None)
