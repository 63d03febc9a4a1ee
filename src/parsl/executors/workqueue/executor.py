"""Parsl's apps on Work Queue."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.cctools import CctoolsExecutor
from parsl.executors.cctools_command import coprocess_command
from parsl.executors.cctools_environment import packed_environment
from parsl.executors.workqueue.errors import WorkQueueFailure, WorkQueueTaskFailure, WorkQueueWorkerLost
from parsl.providers.base import ExecutionProvider
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging
    from parsl.executors.base import Call

__all__ = ["ParslFileToWq", "ParslTaskToWq", "WorkQueueExecutor", "WqTaskToParsl"]

WORK_QUEUE_DEFAULT_PORT = 0


class ParslFileToWq(NamedTuple):
    """A file of a task, as libraries that were written for earlier releases name it.

    Attributes:
        parsl_name: its path for the script.
        stage: whether Work Queue brings it to the worker, or from it.
        cache: whether workers keep it for other tasks.
    """

    parsl_name: str
    stage: bool
    cache: bool


class ParslTaskToWq(NamedTuple):
    """A task on its way to Work Queue, as libraries that were written for earlier releases name it."""

    id: int
    category: str | None
    cores: float | None
    memory: float | None
    disk: float | None
    gpus: float | None
    priority: float | None
    running_time_min: float | None
    env_pkg: str | None
    map_file: str | None
    function_file: str | None
    result_file: str | None
    input_files: list[ParslFileToWq]
    output_files: list[ParslFileToWq]


class WqTaskToParsl(NamedTuple):
    """A task that Work Queue has ended, as libraries that were written for earlier releases name it."""

    id: int
    result_received: bool
    result_file: str | None
    reason: str | None
    status: int


class WorkQueueExecutor(CctoolsExecutor, RepresentationMixin):
    """Runs tasks on the workers of a Work Queue manager, which packs them by the cores, memory and disk they need.

    A manager runs beside the script. Workers (`work_queue_worker`) come from the provider's blocks; any other that
    connects to the manager's port is welcome too. Resource specifications may hold `cores`, `memory` and `disk` (MB),
    `gpus`, `priority` (higher runs first), `running_time_min` and `running_time_max` (seconds).

    Args:
        label: name of the executor.
        provider: where blocks with workers come from; None for a LocalProvider. One with `max_blocks=0` leaves the
            workers to others.
        working_dir: folder into which files are staged.
        project_name: name under which workers find the manager in the catalogue of cctools; None for none.
        project_password_file: file with a password that workers must know.
        address: this host's name or address for workers; None for the host's name.
        port: port of the manager; 0 for a free one.
        env: environment variables for tasks.
        shared_fs: whether workers see the script's files under the same paths. Otherwise files are brought to tasks
            and back.
        storage_access: staging providers, or None for the default ones.
        use_cache: let workers keep input files for other tasks.
        source: kept for earlier configurations; functions travel by value wherever workers could not import them.
        pack: pack the conda environment of this script, and run tasks in that; needs poncho.
        extra_pkgs: more conda packages for `pack`.
        autolabel: measure tasks, and give each as much as others of its category have needed; one that takes more
            memory or disk than its specification says is ended. Needs the program `resource_monitor`.
        autolabel_window: tasks of a category after which that is reckoned anew.
        autocategory: take each app for a category of its own.
        max_retries: how often a task is tried whose worker was lost; 0 for no bound.
        init_command: shell command before each task.
        worker_options: options of `work_queue_worker`.
        full_debug: write the library's own debug log.
        worker_executable: command that starts a worker.
        function_dir: folder for packed calls and answers; None for the run folder.
        coprocess: make calls in a process that stays on the worker, which saves the start of Python for each. Needs a
            Work Queue that has it (7.5 or later).
        scaling_cores_per_worker: cores of a block's worker, to reckon how many blocks are needed.
        remote_monitoring_radio: how tasks send monitoring messages.

    Raises:
        TypeError: when an argument is of a wrong type.
        ConfigurationError: when values do not go together.
    """

    modules = ("ndcctools.work_queue", "work_queue")
    engine = "parsl.executors.workqueue.engine:WorkQueueEngine"
    failure = WorkQueueFailure

    @check_types
    def __init__(
        self,
        label: str = "WorkQueueExecutor",
        provider: ExecutionProvider | None = None,
        working_dir: str = ".",
        project_name: str | None = None,
        project_password_file: str | None = None,
        address: str | None = None,
        port: int = WORK_QUEUE_DEFAULT_PORT,
        env: dict[str, str] | None = None,
        shared_fs: bool = False,
        storage_access: list[Staging] | None = None,
        use_cache: bool = False,
        source: bool = False,
        pack: bool = False,
        extra_pkgs: list[str] | None = None,
        autolabel: bool = False,
        autolabel_window: int = 1,
        autocategory: bool = True,
        max_retries: int = 1,
        init_command: str = "",
        worker_options: str = "",
        full_debug: bool = True,
        worker_executable: str = "work_queue_worker",
        function_dir: str | None = None,
        coprocess: bool = False,
        scaling_cores_per_worker: int = 1,
        remote_monitoring_radio: Any = None,
    ) -> None:
        if provider is None:
            from parsl.providers.local.local import LocalProvider

            provider = LocalProvider()
        super().__init__(provider=provider)
        self.label = label
        self.working_dir = working_dir
        self.project_name = project_name
        self.project_password_file = project_password_file
        self.address = address
        self.port = port
        self.env = env
        self.shared_fs = shared_fs
        self.storage_access = storage_access
        self.use_cache = use_cache
        self.source = source
        self.pack = pack
        self.extra_pkgs = extra_pkgs
        self.autolabel = autolabel
        self.autolabel_window = autolabel_window
        self.autocategory = autocategory
        self.max_retries = max_retries
        self.init_command = init_command
        self.worker_options = worker_options
        self.full_debug = full_debug
        self.worker_executable = worker_executable
        self.function_dir = function_dir
        self.coprocess = coprocess
        self.scaling_cores_per_worker = scaling_cores_per_worker
        self.remote_monitoring_radio = remote_monitoring_radio
        if shared_fs and pack:
            # As before: on a shared file system tasks use the environment that is there.
            msg = "WorkQueueExecutor: shared_fs and pack do not go together"
            raise ConfigurationError(msg)

    # -- what the base asks for ----------------------------------------------------------------------------------

    @property
    def _file_options(self) -> dict[str, bool]:
        return {"shared": self.shared_fs, "cache": self.use_cache}

    def _category(self, call: Call) -> str:
        name = getattr(call.func, "__name__", None) if self.autocategory else None
        return name or "parsl-default"

    def _wanted_function_dir(self) -> str | None:
        return self.function_dir

    @property
    def _project(self) -> str | None:
        return self.project_name

    def _engine_options(self) -> dict[str, Any]:
        if self.autolabel and shutil.which("resource_monitor") is None:
            reason = "autolabel measures tasks with this program of cctools, which has to be on the PATH"
            raise OptionalModuleMissing(["resource_monitor"], reason)
        password = self.project_password_file
        return {
            "port": self.port,
            "project_name": self.project_name,
            "password_file": None if password is None else os.path.abspath(password),
            "full_debug": self.full_debug,
            "autolabel": self.autolabel,
            "autolabel_window": self.autolabel_window,
            "max_retries": self.max_retries,
            "init_command": self.init_command,
            "env": self.env or {},
            "environment": packed_environment(self.logdir, self.extra_pkgs or []) if self.pack else None,
            "coprocess": self.coprocess,
        }

    def _task_failure(self, reason: str, status: int, *, lost: bool) -> Exception:
        if lost:
            return WorkQueueWorkerLost(reason, status, self.label)
        return WorkQueueTaskFailure(reason, status)

    # -- blocks --------------------------------------------------------------------------------------------------

    @property
    def workers_per_node(self) -> int | float:
        """How many one-core tasks the worker of a block runs at once, as far as the configuration says."""
        return self.scaling_cores_per_worker

    @property
    def _coprocess_path(self) -> str:
        return os.path.join(self.logdir, "coprocess")

    def initialize_scaling(self) -> None:
        """Write the program that workers start as their coprocess; they take no command with arguments."""
        if self.coprocess:
            with open(os.open(self._coprocess_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755), "w") as file:
                file.write(f"#!/bin/sh\nexec {coprocess_command()}\n")

    def _get_launch_command(self, block_id: str) -> str:
        words = [f"PARSL_WORKER_BLOCK_ID={shlex.quote(block_id)}", self.worker_executable]
        if self.worker_options:
            words.append(self.worker_options)
        if self.coprocess:
            words.append(f"--coprocess {shlex.quote(self._coprocess_path)}")
        if self.project_password_file is not None:
            words.append(f"--password {shlex.quote(os.path.abspath(self.project_password_file))}")
        if self.project_name is not None and self.address is None:
            words.append(f"-M {shlex.quote(self.project_name)}")
        else:
            words.append(f"{self.address or self._manager_address()} {self._port}")
        return " ".join(words)
