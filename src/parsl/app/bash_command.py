"""The worker's side of bash apps: making the command line, running it, judging how it ended.

Apart from the app itself, so that a worker loads only this.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import IO, Any

from parsl.app.errors import (
    AppBadFormatting,
    AppTimeout,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
)
from parsl.app.limits import timeout
from parsl.process_trees import kill_marked

_TAIL_BYTES = 2000

# All processes of one command are known by a variable of its own, so that a command within a command has both.
_MARK = "PARSL_BASH_COMMAND"
_numbers = itertools.count(1)

# How long a launcher of MPI ranks may take to end those on other nodes.
_LAUNCHER_SECONDS = 5.0


def remote_side_bash_executor(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> int:
    """Run the command line that `func` makes of the arguments; on the worker.

    Args:
        func: the user's function.
        args: its positional arguments.
        kwargs: its keyword arguments, and `stdout`, `stderr`, `walltime`, `inputs`, `outputs`.

    Returns:
        0, the exit code.

    Raises:
        BashExitFailure: when the exit code is another.
        AppTimeout: when the command, or the function that makes it, did not end within `walltime` seconds; it is killed
            with all it has started.
        MissingOutputs: when files of `outputs` are not there at the end.
        AppBadFormatting: when the function raised AttributeError or IndexError.
        BashAppNoReturn: when it did not return a string.
        BadStdStreamFile: when a file for stdout or stderr cannot be opened.
    """
    name = getattr(func, "__name__", "bash_app")
    walltime = kwargs.get("walltime")
    begin = time.monotonic()
    command = command_of(func, name, args, kwargs)
    with _Streams(kwargs) as streams:
        mark = {f"{_MARK}_{os.getpid()}_{next(_numbers)}": "1"}
        process = subprocess.Popen(
            ["/bin/bash", "-c", command],
            stdout=streams.out,
            stderr=streams.err,
            start_new_session=True,
            env={**os.environ, **mark},
        )
        try:
            code = process.wait(None if walltime is None else max(0.0, begin + walltime - time.monotonic()))
        except subprocess.TimeoutExpired:
            _kill(process, mark)
            msg = f"{name} did not end within its walltime of {walltime:g} s and was killed"
            raise AppTimeout(msg) from None
        except BaseException:
            # The task itself is being stopped, and what it started goes with it.
            _kill(process, mark)
            raise
    if code != 0:
        failure = BashExitFailure(name, code)
        failure.command = command
        failure.stdout_path, failure.stderr_path = streams.path("stdout"), streams.path("stderr")
        failure.stderr_tail = tail_of(failure.stderr_path)
        raise failure
    missing = [output for output in kwargs.get("outputs") or () if not is_there(output)]
    if missing:
        raise MissingOutputs(f"{name} has ended, but not all of its outputs are there.", missing)
    return code


def is_there(output: Any) -> bool:
    """Tell whether an output is there: a file or a folder, be it empty; a path that ends in / is a folder's."""
    try:
        return os.path.exists(os.fspath(output))
    except (TypeError, ValueError):
        return True  # no path here: another kind of object, or a remote file whose staging was switched off


def command_of(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Have a user's function make its command line.

    Raises:
        AppBadFormatting: when it raises AttributeError or IndexError.
        BashAppNoReturn: when it does not return a string.
    """
    parameters = _accepted(func)
    if parameters is not None:
        given = {k: v for k, v in kwargs.items() if k in parameters or k not in _OPTIONAL}
    else:
        given = kwargs
    walltime = kwargs.get("walltime")
    make = func if walltime is None else timeout(func, walltime)
    try:
        command = make(*args, **given)
    except (AttributeError, IndexError) as e:
        msg = f"{name} failed to make its command line: {type(e).__name__}: {e}"
        raise AppBadFormatting(msg) from e
    if not isinstance(command, str):
        msg = (
            f"{name} must return its command line as a string, but returned {type(command).__name__}: {command!r:.100}"
        )
        raise BashAppNoReturn(msg)
    return command


# Given to the function only if it has such a parameter.
_OPTIONAL = frozenset({"stdout", "stderr", "walltime", "inputs", "outputs", "label"})


@functools.lru_cache(maxsize=256)
def _accepted(func: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of the function's parameters, or None when it takes any."""
    import inspect

    try:
        parameters = inspect.signature(func).parameters
    except ValueError:
        return frozenset()  # some built-in functions do not tell
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else frozenset(parameters)


class _Streams:
    """The files for standard output and error of one command, opened while it runs."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        from parsl.utils import get_std_fname_mode

        self._specs = {
            name: get_std_fname_mode(name, kwargs[name])
            for name in ("stdout", "stderr")
            if kwargs.get(name) is not None
        }
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> _Streams:
        for name, (path, mode) in self._specs.items():
            same = next((n for n, (p, _) in self._specs.items() if p == path and n in self._files), None)
            self._files[name] = self._files[same] if same else self._open(name, path, mode)
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def _open(self, name: str, path: str, mode: str) -> IO[bytes]:
        try:
            folder = os.path.dirname(path)
            if folder:
                os.makedirs(folder, exist_ok=True)
            return open(path, mode.replace("t", "") + ("" if "b" in mode else "b"))
        except (OSError, ValueError) as e:
            self.__exit__()
            msg = f"{path} cannot be opened as {name}: {e}"
            raise BadStdStreamFile(msg) from e

    @property
    def out(self) -> IO[bytes] | None:
        return self._files.get("stdout")

    @property
    def err(self) -> IO[bytes] | None:
        return self._files.get("stderr")

    def path(self, name: str) -> str | None:
        return self._specs[name][0] if name in self._specs else None


def _kill(process: subprocess.Popen[bytes], mark: dict[str, str]) -> None:
    """Kill a command with all it has started: first the session that it leads, then what has left that.

    A launcher of MPI ranks is first told to end, as it alone can end those on other nodes.
    """
    if "PARSL_MPI_PREFIX" in os.environ:
        _tell_launcher(process)
    with contextlib.suppress(ProcessLookupError):  # all of it may have ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kill_marked(mark)


def _tell_launcher(process: subprocess.Popen[bytes]) -> None:
    import psutil

    try:
        # The shell is gone at once; what it has started may take its time.
        told = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGTERM)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return  # it has ended by itself
    psutil.wait_procs(told, timeout=_LAUNCHER_SECONDS)


def tail_of(path: str | None) -> str | None:
    """Return the end of a file as text; None when there is none."""
    if path is None or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return file.read().decode(errors="replace")
