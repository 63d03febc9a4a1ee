"""What a run does, kept in a database: tasks, tries, their states and what they used, blocks and nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.monitoring.monitoring import MonitoringHub

__all__ = ["MonitoringHub"]


def __getattr__(name: str) -> Any:
    # Workers import modules of this package, and need none of what the hub does.
    if name == "MonitoringHub":
        from parsl.monitoring.monitoring import MonitoringHub

        return MonitoringHub
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
