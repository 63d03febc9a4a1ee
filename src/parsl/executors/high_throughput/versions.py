"""Whether an interchange and a manager, each of its own installation, understand each other."""

from __future__ import annotations

from parsl.executors.high_throughput.messages import OLDEST_PROTOCOL, PROTOCOL_VERSION, Register


def mismatch(manager: Register, python_version: str, parsl_version: str) -> str | None:
    """Say in words why a manager cannot be taken in, or None when it can.

    Args:
        manager: what it says of itself.
        python_version: of this side: workers could not read the pickles of another minor release.
        parsl_version: of this side, for the words; what counts is the range of protocols.
    """
    where = f"manager on {manager.hostname}"
    if not OLDEST_PROTOCOL <= manager.protocol <= PROTOCOL_VERSION:
        older = "manager's" if manager.protocol < OLDEST_PROTOCOL else "submitting side's"
        return (
            f"interchange: parsl {parsl_version}, protocol {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}; "
            f"{where}: parsl {manager.parsl_version}, protocol {manager.protocol} (the {older} is the older one)"
        )
    ours, theirs = python_version.split(".")[:2], manager.python_version.split(".")[:2]
    if ours != theirs:
        return (
            f"interchange: Python {python_version}, parsl {parsl_version}; "
            f"{where}: Python {manager.python_version}, parsl {manager.parsl_version}"
        )
    return None
