"""Parsl's apps on TaskVine."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any, Literal

import psutil

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.cctools import CctoolsExecutor
from parsl.executors.cctools_environment import environment_runner, packed_environment
from parsl.executors.cctools_process import STOP_SECONDS
from parsl.executors.taskvine.errors import (
    TaskVineFactoryFailure,
    TaskVineManagerFailure,
    TaskVineTaskFailure,
    TaskVineWorkerLost,
)
from parsl.executors.taskvine.factory_config import TaskVineFactoryConfig
from parsl.executors.taskvine.manager_config import TaskVineManagerConfig
from parsl.providers.base import ExecutionProvider
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging
    from parsl.executors.base import Call

logger = logging.getLogger(__name__)

_ALGORITHMS = {
    "max-xput": "max throughput",
    "bucketing": "greedy bucketing",
    "exhaustive-bucketing": "exhaustive bucketing",
    "min-waste": "min waste",
    "max": "max",
}


class TaskVineExecutor(CctoolsExecutor, RepresentationMixin):
    """Runs tasks on the workers of a TaskVine manager, which keeps files on them and packs tasks by what they need.

    A manager runs beside the script. Resource specifications may hold `cores`, `memory` and `disk` (MB), `gpus`,
    `priority` (higher runs first), `running_time_min` and `running_time_max` (seconds).

    Args:
        label: name of the executor.
        worker_launch_method: who starts workers: `factory`, TaskVine's own, as many as its configuration says;
            `provider`, in blocks; `manual`, somebody else, with `vine_worker HOST PORT`.
        function_exec_mode: `regular` tasks, or `serverless`: calls made by a process that stays on the worker, which
            saves the start of Python for each. Serverless calls share the resources of that process.
        manager_config: how the manager is made.
        factory_config: how the factory is made; with a provider, what its workers are given.
        provider: where blocks with workers come from; None for a LocalProvider. Used by
            `worker_launch_method='provider'` alone.
        storage_access: staging providers, or None for the default ones.
        remote_monitoring_radio: how tasks send monitoring messages.

    Raises:
        TypeError: when an argument is of a wrong type.
        ConfigurationError: when a value is none of those named.
    """

    modules = ("ndcctools.taskvine",)
    engine = "parsl.executors.taskvine.engine:TaskVineEngine"
    failure = TaskVineManagerFailure

    @check_types
    def __init__(
        self,
        label: str = "TaskVineExecutor",
        worker_launch_method: Literal["provider", "factory", "manual"] = "factory",
        function_exec_mode: Literal["regular", "serverless"] = "regular",
        manager_config: TaskVineManagerConfig = TaskVineManagerConfig(),  # noqa: B008 - copied before it is changed
        factory_config: TaskVineFactoryConfig = TaskVineFactoryConfig(),  # noqa: B008 - the same
        provider: ExecutionProvider | None = None,
        storage_access: list[Staging] | None = None,
        remote_monitoring_radio: Any = None,
    ) -> None:
        for name, value, known in (
            ("worker_launch_method", worker_launch_method, ("factory", "provider", "manual")),
            ("function_exec_mode", function_exec_mode, ("regular", "serverless")),
            ("manager_config.autolabel_algorithm", manager_config.autolabel_algorithm, tuple(_ALGORITHMS)),
        ):
            if value not in known:
                msg = f"TaskVineExecutor: {name} must be one of {', '.join(known)}, but got {value!r}"
                raise ConfigurationError(msg)
        if worker_launch_method == "provider" and provider is None:
            from parsl.providers.local.local import LocalProvider

            provider = LocalProvider()
        super().__init__(provider=provider if worker_launch_method == "provider" else None)
        self.label = label
        self.worker_launch_method = worker_launch_method
        self.function_exec_mode = function_exec_mode
        self.manager_config = manager_config
        self.factory_config = factory_config
        self.storage_access = storage_access
        self.remote_monitoring_radio = remote_monitoring_radio
        self._factory: subprocess.Popen[bytes] | None = None
        self._workspaces = ""

    # -- what the base asks for ----------------------------------------------------------------------------------

    @property
    def _file_options(self) -> dict[str, bool]:
        return {"shared": self.manager_config.shared_fs, "cache": False}

    def _category(self, call: Call) -> str:
        name = getattr(call.func, "__name__", None) if self.manager_config.autocategory else None
        return name or "parsl-default"

    @property
    def _project(self) -> str | None:
        return self.manager_config.project_name

    def _engine_options(self) -> dict[str, Any]:
        config = self.manager_config
        if config.autolabel and shutil.which("resource_monitor") is None:
            reason = "autolabel measures tasks with this program of cctools, which has to be on the PATH"
            raise OptionalModuleMissing(["resource_monitor"], reason)
        tune = dict(config.tune_parameters or {})
        if config.wait_for_workers:
            tune["wait-for-workers"] = config.wait_for_workers
        if config.autolabel_window is not None:
            tune["category-steady-n-tasks"] = config.autolabel_window
        return {
            "port": config.port,
            "project_name": config.project_name,
            "password_file": self._password_file(),
            "autolabel": _ALGORITHMS[config.autolabel_algorithm] if config.autolabel else None,
            "max_retries": config.max_retries,
            "init_command": config.init_command,
            "env": config.env_vars or {},
            "environment": self._environment(),
            "peer_transfers": config.enable_peer_transfers,
            "serverless": self.function_exec_mode == "serverless",
            "library": config.library_config or {},
            "tune": tune,
            "log_folder": None if config.vine_log_dir is None else os.path.abspath(config.vine_log_dir),
        }

    def _password_file(self) -> str | None:
        given = self.manager_config.project_password_file
        return None if given is None else os.path.abspath(given)

    def _environment(self) -> tuple[str, str] | None:
        config = self.manager_config
        if config.env_pack is not None and os.path.isfile(config.env_pack):
            return os.path.abspath(config.env_pack), environment_runner()
        if config.env_pack is not None:
            return packed_environment(self.logdir, prefix=config.env_pack)
        if config.app_pack:
            return packed_environment(self.logdir, config.extra_pkgs or ())
        return None

    def _task_failure(self, reason: str, status: int, *, lost: bool) -> Exception:
        if lost:
            return TaskVineWorkerLost(reason, status, self.label)
        return TaskVineTaskFailure(reason, status)

    # -- workers -------------------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        if self.worker_launch_method == "factory":
            self._start_factory()

    def _start_factory(self) -> None:
        words = self._factory_command()
        errors_path = os.path.join(self.logdir, "factory.stderr")
        if self.factory_config.batch_type == "local":
            self._workspaces = tempfile.mkdtemp(prefix="parsl-vine-")
        with open(errors_path, "wb") as errors:
            try:
                # In a session of its own, by which the workers that it starts on this machine are known. Their folders
                # are in one of ours, which goes at the end, also when one had to be killed.
                self._factory = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    start_new_session=True,
                    env={**os.environ, "TMPDIR": self._workspaces} if self._workspaces else None,
                )
            except OSError as e:
                msg = f"The factory of executor {self.label} could not be started as {words}: {e}"
                raise TaskVineFactoryFailure(msg) from e
        logger.info("The factory of executor %s is process %d", self.label, self._factory.pid)

    def _factory_command(self) -> list[str]:
        config = self.factory_config
        scratch = os.path.abspath(config.scratch_dir or os.path.join(self.logdir, "factory"))
        os.makedirs(scratch, exist_ok=True)
        worker = shutil.which(config.worker_executable)
        if worker is None:
            msg = f"The worker {config.worker_executable!r} of executor {self.label} is not on the PATH"
            raise TaskVineFactoryFailure(msg)
        # A worker of this machine ends with its factory, however that ends.
        local = "--parent-death" if config.batch_type == "local" else ""
        extra = f"{config.worker_options or ''} {local}".strip()
        options: dict[str, Any] = {
            "batch-type": config.batch_type,
            "scratch-dir": scratch,
            "worker-binary": worker,
            "min-workers": config.min_workers,
            "max-workers": config.max_workers,
            "workers-per-cycle": config.workers_per_cycle,
            "factory-timeout": config.factory_timeout,
            "timeout": config.worker_timeout,
            "cores": config.cores,
            "gpus": config.gpus,
            "memory": config.memory,
            "disk": config.disk,
            "poncho-env": config.python_env,
            "condor-requirements": config.condor_requirements,
            "batch-options": config.batch_options,
            "password": self._password_file(),
            "extra-options": extra or None,
        }
        words = ["vine_factory", "--parent-death", *(f"--{k}={v}" for k, v in options.items() if v is not None)]
        project, address = self.manager_config.project_name, self.manager_config.address
        if project is not None and address is None and config.batch_type != "local":
            return [*words, f"--manager-name={project}"]
        return [*words, address or self._manager_address(), str(self._port)]

    def _manager_address(self) -> str:
        local = self.worker_launch_method == "factory" and self.factory_config.batch_type == "local"
        return "127.0.0.1" if local else super()._manager_address()

    def _stop_workers(self) -> None:
        factory, self._factory = self._factory, None
        if factory is not None:
            self._end(factory)
        if self._workspaces:
            shutil.rmtree(self._workspaces, ignore_errors=True)
            self._workspaces = ""

    def _end(self, factory: subprocess.Popen[bytes]) -> None:
        factory.terminate()
        try:
            factory.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("The factory of executor %s did not end within %g s and is killed", self.label, STOP_SECONDS)
            factory.kill()
            factory.wait()
        # It has told its workers to end, and not waited for it; one that had just begun may not have been told.
        workers = _members(factory.pid)
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.terminate()
        _, left = psutil.wait_procs(workers, STOP_SECONDS)
        for process in left:
            logger.warning("Worker %d of executor %s did not end and is killed", process.pid, self.label)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, STOP_SECONDS)

    @property
    def workers_per_node(self) -> int | float:
        """How many one-core tasks the worker of a block runs at once, as far as the configuration says."""
        return self.factory_config.cores or 1

    def _get_launch_command(self, block_id: str) -> str:
        config = self.factory_config
        words = [f"PARSL_WORKER_BLOCK_ID={shlex.quote(block_id)}", config.worker_executable]
        for name in ("cores", "gpus", "memory", "disk"):
            amount = getattr(config, name)
            if amount is not None:
                words.append(f"--{name}={amount}")
        words.append(f"--timeout={config.worker_timeout}")
        if config.worker_options:
            words.append(config.worker_options)
        password = self._password_file()
        if password is not None:
            words.append(f"--password {shlex.quote(password)}")
        project, address = self.manager_config.project_name, self.manager_config.address
        if project is not None and address is None:
            words.append(f"-M {shlex.quote(project)}")
        else:
            words.append(f"{address or self._manager_address()} {self._port}")
        return " ".join(words)


def _members(session: int) -> list[psutil.Process]:
    """Return the processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found
