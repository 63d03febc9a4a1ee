"""Providers: where blocks come from. Each is imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.providers.local.local import LocalProvider

__all__ = ["LocalProvider"]

_MODULE_OF = {"LocalProvider": "parsl.providers.local.local"}


def __getattr__(name: str) -> Any:
    module_name = _MODULE_OF.get(name)
    if module_name is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(module_name), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
