"""A call as RADICAL-Pilot describes it: a function for its workers, or an executable for its agent."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from parsl.app.bash_command import command_of, is_there, remote_side_bash_executor, tail_of
from parsl.app.errors import AppTimeout, BashExitFailure, MissingOutputs
from parsl.executors.errors import InvalidResourceSpecification
from parsl.utils import get_std_fname_mode

# What a task may ask for: RADICAL's own names, with the least each may be.
_LEAST: dict[str, float] = {
    "ranks": 1,
    "cores_per_rank": 1,
    "gpus_per_rank": 0,
    "mem_per_rank": 0,
    "lfs_per_rank": 0,
    "timeout": 0,
    "priority": 0,
}
# The exit codes of `timeout`: what it has told to end has ended, or had to be killed, with `timeout` itself.
_TIMED_OUT = frozenset({124, 137, -9})
_KILL_SECONDS = 5

_TEXTS = frozenset({"named_env", "threading_type", "gpu_type"})


def check_specification(resources: Mapping[str, Any], *, function: bool, mpi: bool) -> None:
    """Refuse a resource specification that RADICAL-Pilot does not understand.

    Args:
        resources: the specification.
        function: whether the task is a function, not an executable.
        mpi: whether workers can run a function on several ranks.

    Raises:
        InvalidResourceSpecification: naming the entries.
    """
    wrong = {key for key, value in resources.items() if not _is_right(key, value)}
    if wrong:
        known = ", ".join(sorted({*_LEAST, *_TEXTS}))
        raise InvalidResourceSpecification(wrong, f"There are {known}; numbers are not negative, ranks at least 1.")
    if function and not mpi and resources.get("ranks", 1) > 1:
        raise InvalidResourceSpecification(
            {"ranks"}, "Functions on several ranks need rpex_cfg with worker_type 'MPIWorker'."
        )


def _is_right(key: str, value: Any) -> bool:
    if key in _TEXTS:
        return isinstance(value, str)
    return key in _LEAST and isinstance(value, (int, float)) and not isinstance(value, bool) and value >= _LEAST[key]


def bash_function(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the user's function of a bash app, whose command can be run as an executable; None of anything else."""
    if isinstance(func, functools.partial) and func.func is remote_side_bash_executor and not func.keywords:
        function: Callable[..., Any] = func.args[0]
        return function
    return None


class BashTask:
    """The command of a bash app, run as an executable.

    Args:
        function: the user's function; it is called here, to make the command.
        args: its positional arguments.
        kwargs: its keyword arguments, and those of bash apps.

    Raises:
        AppBadFormatting: when the function raises AttributeError or IndexError.
        BashAppNoReturn: when it does not return a string.
        BadStdStreamFile: when `stdout` or `stderr` has a wrong form.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.name = getattr(function, "__name__", "bash_app")
        self.command = command_of(function, self.name, args, kwargs)
        self._outputs = list(kwargs.get("outputs") or ())
        self._timeout = kwargs.get("walltime")
        self._paths: dict[str, str] = {}
        self._lines: list[str] = []
        for name, number in (("stdout", 1), ("stderr", 2)):
            if kwargs.get(name) is not None:
                path, mode = get_std_fname_mode(name, kwargs[name])
                self._paths[name] = path = os.path.abspath(path)
                self._lines.append(f"mkdir -p {shlex.quote(os.path.dirname(path))} || exit")
                self._lines.append(f"exec {number}{'>' if 'w' in mode else '>>'}{shlex.quote(path)} || exit")

    def description(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the executable in RADICAL's terms."""
        # Where it runs is where other executors run commands.
        command = self.command
        if self._timeout is not None:
            # RADICAL's own `timeout` of an executable has no effect on every machine.
            command = f"exec timeout -k {_KILL_SECONDS} {float(self._timeout):f} /bin/bash -c {shlex.quote(command)}"
        lines = [f"cd {shlex.quote(os.getcwd())} || exit", *self._lines, command]
        return {"executable": "/bin/bash", "arguments": ["-c", "\n".join(lines)], **resources}

    def judge(self, code: int | None) -> int:
        """Say how the executable ended.

        Raises:
            AppTimeout: when it was killed at its walltime.
            BashExitFailure: when the exit code is not 0.
            MissingOutputs: when files of `outputs` are not there.
        """
        if self._timeout is not None and code in _TIMED_OUT:
            msg = f"{self.name} did not end within its walltime of {self._timeout:g} s and was killed"
            raise AppTimeout(msg)
        if code != 0:
            failure = BashExitFailure(self.name, -1 if code is None else code)
            failure.command = self.command
            failure.stdout_path, failure.stderr_path = self._paths.get("stdout"), self._paths.get("stderr")
            failure.stderr_tail = tail_of(failure.stderr_path)
            raise failure
        missing = [output for output in self._outputs if not is_there(output)]
        if missing:
            msg = f"{self.name} has ended, but not all of its outputs are there."
            raise MissingOutputs(msg, missing)
        return 0
