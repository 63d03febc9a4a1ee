"""Tasks on pilots of RADICAL-Pilot. The names are resolved on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.executors.radical.executor import RadicalPilotExecutor
    from parsl.executors.radical.rpex_resources import ResourceConfig

_HOMES = {
    "RadicalPilotExecutor": "parsl.executors.radical.executor",
    "ResourceConfig": "parsl.executors.radical.rpex_resources",
}

__all__ = ["RadicalPilotExecutor", "ResourceConfig"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib

    return getattr(importlib.import_module(home), name)
