"""Finding the configuration that a file, a module or a function stands for."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parsl.config_files import SUFFIXES
from parsl.errors import ConfigurationError, OptionalModuleMissing

if TYPE_CHECKING:
    from parsl.config import Config

__all__ = ["load_config"]


def load_config(target: str) -> Config:
    """Run a Python file, or import a module, and return the configuration that it defines; or read one from a file.

    Args:
        target: A Python file, or a module in dots, each with `:name` behind it or not. The name is that of a Config or
            of a function without arguments that returns one. Without it, `fresh_config()` goes first, then `config`.
            Or a TOML or JSON file, see `Config.from_file`.

    Raises:
        ConfigurationError: That cannot be done; the text says why.
    """
    place, name = _split(target)
    if place.endswith(SUFFIXES) and name is None:
        from parsl.config import Config

        _search_here(os.path.dirname(os.path.abspath(place)))
        try:
            return Config.from_file(place)
        except OptionalModuleMissing as e:
            raise ConfigurationError(str(e)) from e
    try:
        found = _pick(_names(place), name)
    except ConfigurationError:
        raise
    except OSError as e:
        msg = f"cannot read the configuration {place}: {e.strerror or e}"
        raise ConfigurationError(msg) from e
    except Exception as e:
        msg = f"the configuration {place} raises {type(e).__name__}: {e}"
        raise ConfigurationError(msg) from e
    return _checked(found, place, name)


def _split(target: str) -> tuple[str, str | None]:
    place, colon, name = target.rpartition(":")
    return (place, name) if colon and place and name.isidentifier() and not os.path.exists(target) else (target, None)


def _names(place: str) -> Mapping[str, Any]:
    """Return what a file or module defines."""
    _search_here()
    if _is_module(place):
        return vars(importlib.import_module(place))
    with open(place, "rb"):
        pass
    _search_here(os.path.dirname(os.path.abspath(place)))
    return runpy.run_path(place)


def _search_here(folder: str | None = None) -> None:
    """Let modules in the working folder, and in `folder`, be imported."""
    here = os.getcwd()
    if "" not in sys.path and here not in sys.path:
        # A command's own sys.path begins where the command is installed.
        sys.path.insert(0, here)
    if folder is not None and folder not in sys.path:
        # As for any script: what lies beside it can be imported, and is found by workers too.
        sys.path.insert(0, folder)


def _is_module(place: str) -> bool:
    dotted = all(part.isidentifier() for part in place.split("."))
    return dotted and not os.path.exists(place) and not place.endswith(".py")


def _pick(names: Mapping[str, Any], name: str | None) -> Any:
    """Take the configuration out of what a file defines; None if there is none."""
    if name is not None:
        found = names.get(name)
    elif "fresh_config" in names:
        found = names["fresh_config"]
        return found()
    else:
        found = names.get("config")
    return found() if callable(found) else found


def _checked(found: Any, place: str, name: str | None) -> Config:
    from parsl.config import Config

    if found is None:
        what = f"no {name}, or it is None" if name else "neither config nor fresh_config()"
        msg = f"the configuration {place} defines {what}"
        raise ConfigurationError(msg)
    if not isinstance(found, Config):
        msg = f"the configuration {place} defines a {type(found).__name__}, but a parsl.config.Config is needed"
        raise ConfigurationError(msg)
    return found
