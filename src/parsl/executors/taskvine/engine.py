"""Drives the manager of TaskVine, in the process that holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ndcctools import taskvine

from parsl.executors.cctools_command import COPROCESS, FUNCTION, PACKAGE, RUNNER, SERVER, command_line
from parsl.executors.cctools_engine import CctoolsEngine
from parsl.executors.cctools_manager import KEEPALIVE, end_of, port_for
from parsl.executors.cctools_messages import End, Task, Transfer

_LIBRARIES = ("ndcctools.taskvine._cvine", "_cvine")

# Seconds between two looks at what a measured task uses: one that uses more than it was given is ended after so many.
_MONITOR = {"monitor-interval": 1}

_SETTERS = {"running_time_min": "set_time_min", "running_time_max": "set_time_max"}


class TaskVineEngine(CctoolsEngine):
    """A manager of TaskVine.

    Args:
        folder: for its logs.
        port: where it listens; 0 for a free one.
        project_name: its name in the catalogue, or None.
        password_file: file with the password that workers must know, or None.
        autolabel: how to learn what each category needs from measured tasks, or None.
        max_retries: how often a task is tried.
        init_command: shell command before each task.
        env: environment variables of tasks.
        environment: a packed Python environment for tasks and the program that enters it, or None.
        peer_transfers: let workers bring files to one another.
        serverless: make calls in a process that stays on the worker, a library.
        library: its `num_slots`, `cores`, `memory`, `disk`.
        tune: values for `tune`, by name.
    """

    def __init__(
        self,
        folder: str,
        *,
        port: int = 0,
        project_name: str | None = None,
        password_file: str | None = None,
        autolabel: str | None = None,
        max_retries: int = 1,
        init_command: str = "",
        env: Mapping[str, str] | None = None,
        environment: Sequence[str] | None = None,
        peer_transfers: bool = True,
        serverless: bool = False,
        library: Mapping[str, int] | None = None,
        tune: Mapping[str, float] | None = None,
        log_folder: str | None = None,
    ) -> None:
        packed = environment is not None
        super().__init__(
            max_retries=max_retries, init_command=init_command, env=env, packed=packed, measured=bool(autolabel)
        )
        self._manager = taskvine.Manager(port=port_for(port), name=project_name, run_info_path=log_folder or folder)
        if password_file is not None:
            self._manager.set_password_file(password_file)
        (self._manager.enable_peer_transfers if peer_transfers else self._manager.disable_peer_transfers)()
        self._autolabel = autolabel
        self._packages = [
            (self._manager.declare_file(local, cache=True), remote)
            for local, remote in zip(environment or (), (PACKAGE, RUNNER), strict=False)
        ]
        self._serverless = serverless
        self._files: dict[int, list[Any]] = {}
        if autolabel:
            self._manager.enable_monitoring()
        for name, value in {**KEEPALIVE, **_MONITOR}.items():
            self._manager.tune(name, value)
        for name, value in (tune or {}).items():
            if self._manager.tune(name, value) != 0:
                msg = f"TaskVine knows no parameter {name!r} to tune"
                raise ValueError(msg)
        self.port: int = self._manager.port
        self._wait_no_longer(_LIBRARIES, "vine_manager_enable_process_shortcut", self._manager, "_taskvine")
        if serverless:
            self._install(command_line(init_command, packed=packed, module=SERVER), library or {})

    def _install(self, command: str, given: Mapping[str, int]) -> None:
        """Have each worker start the process that makes calls."""
        library = taskvine.LibraryTask(command, COPROCESS)
        library.set_function_exec_mode_from_string("fork")
        library.set_function_slots(given.get("num_slots", 0))
        for name in ("cores", "memory", "disk"):
            if name in given:
                getattr(library, f"set_{name}")(given[name])
        for name, value in self._env.items():
            library.set_env_var(name, value)
        for file, remote in self._packages:
            library.add_input(file, remote)
        self._manager.install_library(library)

    def submit(self, task: Task) -> int:
        """Hand a task over."""
        t = taskvine.Task(FUNCTION if self._serverless else self._command)
        if self._serverless:
            t.set_library_required(COPROCESS)
        else:
            for file, remote in self._packages:
                t.add_input(file, remote)
            for name, value in self._env.items():
                t.set_env_var(name, value)
        files = [self._add(t, transfer, output=False) for transfer in task.inputs]
        files += [self._add(t, transfer, output=True) for transfer in task.outputs]
        if task.call_path:
            files.append(self._add(t, Transfer(task.call_path, "call"), output=False))
        else:
            files.append(self._manager.declare_buffer(task.call))
            t.add_input(files[-1], "call")
        files.append(self._add(t, Transfer(task.result_path, "answer"), output=True))
        t.set_category(task.category)
        self._learn(task.category)
        if self._max_retries:
            t.set_retries(self._max_retries)
        for name, amount in task.resources.items():
            getattr(t, _SETTERS.get(name, f"set_{name}"))(amount if name == "priority" else int(amount))
        number = int(self._manager.submit(t))
        self._files[number] = files
        return number

    def _add(self, task: Any, transfer: Transfer, *, output: bool) -> Any:
        file = self._manager.declare_file(transfer.local, cache=transfer.cache)
        (task.add_output if output else task.add_input)(file, transfer.remote)
        return file

    def _begin_to_learn(self, category: str) -> None:
        self._manager.set_category_mode(category, self._autolabel)

    def collect(self) -> tuple[int, End] | None:
        """Do all that there is to do now; return a task that has ended, or None."""
        t = self._manager.wait(self._wait)
        if t is None:
            return None
        number = int(t.id)
        end = end_of(str(t.result or ""), int(t.exit_code), t.limits_exceeded, t.std_output)
        # Else the manager keeps what it knows of them to its end.
        for file in self._files.pop(number, ()):
            self._manager.undeclare_file(file)
        return number, end

    def cancel(self, engine_id: int) -> bool:
        """Drop a task that has not started."""
        table = self._manager._task_table  # noqa: SLF001 - no other way from the number to the task
        task = table.get(engine_id)
        if task is None or str(task.state).upper() != "READY":
            return False
        return bool(self._manager.cancel_by_task_id(engine_id))

    def close(self) -> None:
        """End the manager; workers go on to look for another."""
        del self._manager
