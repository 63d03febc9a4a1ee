"""The files of a call on workers that do not share a file system with the script, or do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from parsl.data_provider.files import File
from parsl.executors.cctools_messages import Transfer
from parsl.utils import get_std_fname_mode

_STREAMS = ("stdout", "stderr")


class Files:
    """Gives the files among the arguments of one call the paths that they have where the task runs.

    On a shared file system these are absolute paths. Otherwise each file gets a name in the task's folder, and
    `inputs` and `outputs` list what the engine has to bring. The arguments themselves stay as they are, since they
    are used again when the task is tried again.

    Args:
        shared: whether workers see the script's files under the same paths.
        cache: whether workers may keep input files for other tasks.
    """

    def __init__(self, *, shared: bool, cache: bool) -> None:
        self._shared = shared
        self._cache = cache
        self._names: dict[str, str] = {}
        self.inputs: list[Transfer] = []
        self.outputs: list[Transfer] = []

    def of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with the paths that hold for the task."""
        new_args = tuple(self._argument(a, self._in) for a in args)
        new_kwargs = {}
        for key, value in kwargs.items():
            if key in _STREAMS:
                new_kwargs[key] = self._stream(key, value)
            elif key == "outputs":
                new_kwargs[key] = self._argument(value, self._out)
            else:
                new_kwargs[key] = self._argument(value, self._in)
        return new_args, new_kwargs

    def _argument(self, value: Any, place: Callable[[str], str]) -> Any:
        if isinstance(value, File):
            return self._moved(value, place)
        if type(value) in (list, tuple) and any(isinstance(v, File) for v in value):
            return type(value)(self._moved(v, place) if isinstance(v, File) else v for v in value)
        return value

    def _moved(self, file: File, place: Callable[[str], str]) -> File:
        if file.local_path is None and file.scheme != "file":
            return file  # one that the task itself is to fetch
        copy = file.cleancopy()
        copy.local_path = place(file.filepath)
        return copy

    def _stream(self, key: str, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, File):
            return self._moved(value, self._out)
        path, mode = get_std_fname_mode(key, value)
        if "a" in mode and os.path.exists(path):
            # What is appended to is brought to the task first.
            self._in(path)
        return self._out(path), mode

    # -- one path ------------------------------------------------------------------------------------------------

    def _in(self, path: str) -> str:
        if self._shared:
            return os.path.abspath(path)
        local = os.path.abspath(path)
        if not os.path.exists(local):
            # Not here, so it is taken to be where the task runs.
            return path
        name = self._name(local)
        if not any(t.remote == name for t in self.inputs):
            self.inputs.append(Transfer(local, name, self._cache))
        return name

    def _out(self, path: str) -> str:
        if self._shared:
            return os.path.abspath(path)
        local = os.path.abspath(path)
        name = self._name(local)
        if not any(t.remote == name for t in self.outputs):
            os.makedirs(os.path.dirname(local), exist_ok=True)
            self.outputs.append(Transfer(local, name))
        return name

    def _name(self, local: str) -> str:
        """Return the file's name in the task's folder: one for each path, with the ending that programs look at."""
        if local not in self._names:
            plain = re.sub(r"[^\w.-]", "_", os.path.basename(local))
            self._names[local] = f"f{len(self._names)}-{plain}"
        return self._names[local]
