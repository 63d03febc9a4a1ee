"""Configurations in TOML and JSON files: a table with `class` is an object, one with `object` something to import."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.plugins import Kind, find, resolve

__all__ = ["SUFFIXES", "arguments_from"]

SUFFIXES = (".toml", ".json")
"""How the names of such files end."""

# What a table stands for whose class has a short name, by the parameter for which it is given.
_KINDS: dict[str, Kind] = {
    "executors": "executor",
    "provider": "provider",
    "launcher": "launcher",
    "storage_access": "staging",
}


def arguments_from(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the arguments of a `Config` from a file, objects made.

    Args:
        path: a file whose name ends in `.toml` or `.json`.

    Raises:
        ConfigurationError: the file cannot be read or understood, or one of its objects cannot be made; the text says
            where in the file.
        OptionalModuleMissing: a TOML file is to be read by Python 3.10, which needs `tomli` for it.
    """
    content = _read(os.fspath(path))
    if not isinstance(content, dict):
        msg = f"the configuration {path} holds a {type(content).__name__}, but it must be one table of settings"
        raise ConfigurationError(msg)
    try:
        return {name: _made(value, name, name) for name, value in content.items()}
    except ConfigurationError as e:
        msg = f"the configuration {path}: {e}"
        raise ConfigurationError(msg) from e


def _read(path: str) -> Any:
    if not path.endswith(SUFFIXES):
        msg = f"the configuration {path} must be a {' or '.join(SUFFIXES)} file"
        raise ConfigurationError(msg)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return json.loads(text) if path.endswith(".json") else _toml(text)
    except OSError as e:
        msg = f"cannot read the configuration {path}: {e.strerror or e}"
        raise ConfigurationError(msg) from e
    except ValueError as e:  # also of bytes that are no text
        msg = f"the configuration {path} is not well formed: {e}"
        raise ConfigurationError(msg) from e


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as e:
            reason = "Python 3.10 reads TOML files with it: pip install tomli, or write the file as JSON."
            raise OptionalModuleMissing(["tomli"], reason) from e
    loaded: dict[str, Any] = tomllib.loads(text)
    return loaded


def _made(value: Any, parameter: str, where: str) -> Any:
    """Make what a value of the file stands for.

    Args:
        value: as it was read.
        parameter: the name of the parameter for which it is given.
        where: the place in the file, for the texts of errors.
    """
    if isinstance(value, list):
        return [_made(item, parameter, f"{where}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "class" in value:
        return _object(value, parameter, where)
    if "object" in value:
        return _import(value, where)
    return {name: _made(item, name, f"{where}.{name}") for name, item in value.items()}


def _object(table: Mapping[str, Any], parameter: str, where: str) -> Any:
    name = table["class"]
    if not isinstance(name, str):
        msg = f"{where}: 'class' must be a name in quotes, but is {name!r}"
        raise ConfigurationError(msg)
    kind = _KINDS.get(parameter)
    if kind is None and "." not in name:
        msg = f"{where}: 'class' must be a full path, 'package.module.Class', but is {name!r}"
        raise ConfigurationError(msg)
    arguments = {key: _made(item, key, f"{where}.{key}") for key, item in table.items() if key != "class"}
    try:
        make = resolve(kind, name) if kind is not None else find(name)
        return make(**_with_tuples(make, arguments))
    except ConfigurationError as e:
        msg = f"{where}: {e}"
        raise ConfigurationError(msg) from e
    except OptionalModuleMissing:
        raise
    except Exception as e:
        msg = f"{where}: {name} cannot be made: {e}"
        raise ConfigurationError(msg) from e


def _with_tuples(make: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Turn lists into tuples for parameters that take nothing else: the files know lists only."""
    annotations = getattr(getattr(make, "__init__", make), "__annotations__", {})
    return {
        name: tuple(value) if isinstance(value, list) and _takes_tuple(annotations.get(name)) else value
        for name, value in arguments.items()
    }


def _takes_tuple(annotation: object) -> bool:
    text = str(annotation)
    return "tuple[" in text.lower() and not any(word in text for word in ("list[", "Sequence[", "Iterable["))


def _import(table: Mapping[str, Any], where: str) -> Any:
    path = table["object"]
    if len(table) > 1 or not isinstance(path, str) or "." not in path:
        msg = f"{where}: 'object' stands alone, with a full path, 'package.module.name', but got {dict(table)!r}"
        raise ConfigurationError(msg)
    try:
        return find(path)
    except ConfigurationError as e:
        msg = f"{where}: {e}"
        raise ConfigurationError(msg) from e
