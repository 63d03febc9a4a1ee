"""Classes by name: this package's own, those of installed plug-ins, and any by its full path.

A plug-in is an installed distribution with an entry point in one of the groups `parsl.executors`, `parsl.providers`,
`parsl.launchers` and `parsl.staging`:

    [project.entry-points."parsl.executors"]
    MyExecutor = "my_package.executor:MyExecutor"
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from parsl.errors import ConfigurationError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUPS", "find", "installed", "known_names", "resolve"]

Kind = Literal["executor", "provider", "launcher", "staging"]

GROUPS: dict[Kind, str] = {
    "executor": "parsl.executors",
    "provider": "parsl.providers",
    "launcher": "parsl.launchers",
    "staging": "parsl.staging",
}
"""The group of entry points for each kind of class."""

# The packages of the first three have their public classes in `__all__`; staging providers are in modules of their own.
_STAGING = {
    "FTPInTaskStaging": "parsl.data_provider.ftp",
    "FTPSeparateTaskStaging": "parsl.data_provider.ftp",
    "GlobusStaging": "parsl.data_provider.globus",
    "HTTPInTaskStaging": "parsl.data_provider.http",
    "HTTPSeparateTaskStaging": "parsl.data_provider.http",
    "NoOpFileStaging": "parsl.data_provider.file_noop",
    "RSyncStaging": "parsl.data_provider.rsync",
    "ZipFileStaging": "parsl.data_provider.zip",
}


def resolve(kind: Kind, name: str) -> Callable[..., Any]:
    """Find the class that a name stands for.

    Args:
        kind: what is looked for.
        name: the name of a class of this package, such as `SlurmProvider`; the name of a plug-in's entry point; or the
            full path of any class that can be imported, such as `package.module.Class`. A plug-in cannot take the place
            of a class of this package: it needs a name of its own.

    Returns:
        The class, or whatever else makes such an object when it is called.

    Raises:
        ConfigurationError: there is no such class, several plug-ins have the name, or it cannot be imported. The text
            lists the names that there are.
    """
    if "." in name:
        found = find(name)
    elif name in _own_names(kind):
        found = find(f"{_STAGING[name] if kind == 'staging' else GROUPS[kind]}.{name}")
    else:
        found = _load(kind, _one(kind, name))
    if not callable(found):
        msg = f"the {kind} {name!r} is a {type(found).__name__}, but a class is needed"
        raise ConfigurationError(msg)
    return found  # type: ignore[no-any-return]  # whatever is callable


def find(path: str) -> Any:
    """Import what a full path stands for: `package.module.name`, or `package.module:name`.

    Raises:
        ConfigurationError: it cannot be imported, or the module does not have the name.
    """
    module_name, _, name = path.replace(":", ".").rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as e:
        msg = f"{path!r} cannot be used: importing {module_name!r} raises {type(e).__name__}: {e}"
        raise ConfigurationError(msg) from e
    try:
        return getattr(module, name)
    except AttributeError as e:
        msg = f"{path!r} cannot be used: the module {module_name!r} has no {name!r}{_perhaps(name, dir(module))}"
        raise ConfigurationError(msg) from e


def known_names(kind: Kind) -> list[str]:
    """Return the names that `resolve` knows, of this package and of plug-ins, in alphabetical order."""
    return sorted({*_own_names(kind), *(e.name for e in installed(kind))})


def installed(kind: Kind) -> list[EntryPoint]:
    """Return the entry points of installed plug-ins, without loading any."""
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUPS[kind]))


def _own_names(kind: Kind) -> Iterable[str]:
    if kind == "staging":
        return _STAGING
    names: list[str] = importlib.import_module(GROUPS[kind]).__all__
    return names


def _one(kind: Kind, name: str) -> EntryPoint:
    """Return the entry point of a name."""
    # The same one may be found twice, by two entries of the search path that lead to one folder.
    found = {e.value: e for e in installed(kind) if e.name == name}
    if not found:
        names = known_names(kind)
        msg = (
            f"there is no {kind} {name!r}{_perhaps(name, names)}; there are: {', '.join(names)}. Any other needs its "
            "full path, 'package.module.Class', or an installed plug-in with an entry point in the group "
            f"{GROUPS[kind]!r}"
        )
        raise ConfigurationError(msg)
    if len(found) > 1:
        msg = f"several plug-ins have {kind} {name!r}: {', '.join(sorted(found))}. Say which by its full path"
        raise ConfigurationError(msg)
    return next(iter(found.values()))


def _load(kind: Kind, entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as e:
        of = f" of {entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""
        msg = f"the {kind} {entry.name!r}{of} cannot be loaded from {entry.value!r}: {type(e).__name__}: {e}"
        raise ConfigurationError(msg) from e


def _perhaps(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
