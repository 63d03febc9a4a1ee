"""Where a script looks for its modules: what processes that run its functions elsewhere have to know."""

from __future__ import annotations

import os
import sys

__all__ = ["script_folders", "script_path"]


def script_path() -> list[str]:
    """Return `sys.path` as absolute folders, with an empty entry in front of the standard library.

    There, a process of another environment puts its own path.
    """
    library = os.path.dirname(os.__file__)
    archive = os.path.join(os.path.dirname(library), "python{}{}.zip".format(*sys.version_info))
    path = [os.path.abspath(p) for p in sys.path if isinstance(p, str)]
    place = next((i for i, p in enumerate(path) if p in {library, archive}), len(path))
    return [*path[:place], "", *path[place:]]


def script_folders() -> tuple[str, ...]:
    """Return the folders in front of the standard library: the script's own, and those of PYTHONPATH."""
    path = script_path()
    return tuple(dict.fromkeys(path[: path.index("")]))
