"""A session of RADICAL-Pilot with one pilot: its managers, masters and workers, and what they leave behind."""

from __future__ import annotations

import builtins
import itertools
import logging
import os
import sys
import sysconfig
import uuid
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from parsl.executors.radical.rpex_resources import WORKER_TYPES, ResourceConfig
from parsl.executors.radical.worker import run_for_radical

logger = logging.getLogger(__name__)

_FINAL = frozenset({"DONE", "FAILED", "CANCELED"})
# How long what a session leaves behind may take to end by itself.
_LEFTOVER_SECONDS = 10.0

# As if of a script that has nothing else, so that it travels whole: RADICAL's worker finds us with its help only.
_BOOTSTRAP = FunctionType(
    run_for_radical.__code__,
    {"__name__": "__main__", "__builtins__": builtins},
    "run_for_radical",
    run_for_radical.__defaults__,
)


class Pilot:
    """One pilot and what runs in it.

    Args:
        rp: the module `radical.pilot`.
        config: what of the pilot runs functions.
        on_task: called with the number and RADICAL's task when a task has ended, on a thread of RADICAL.
        on_loss: called with the reason when the pilot, or what runs functions in it, is gone.
    """

    def __init__(
        self,
        rp: Any,
        config: ResourceConfig,
        on_task: Callable[[int, Any], object],
        on_loss: Callable[[str], object],
    ) -> None:
        self._rp = rp
        self._config = config
        self._on_task = on_task
        self._on_loss = on_loss
        self._session: Any = None
        self._manager: Any = None
        self._raptors: list[Any] = []
        # Masters and workers take turns.
        self._turns = itertools.count()
        self._numbers: dict[str, int] = {}
        self._closing = False
        # RADICAL wants names to be unique in the process, not only in the session.
        self._token = uuid.uuid4().hex[:8]
        self._path = search_path()

    def start(self, folder: str, description: Mapping[str, Any]) -> None:
        """Start a session, and submit the pilot, masters and workers; on the script's main thread, as RADICAL wants it.

        Args:
            folder: an existing folder for the session's own files.
            description: the entries of the pilot's description.
        """
        rp = self._rp
        self._session = rp.Session(cfg={"base": folder})
        try:
            pilots = rp.PilotManager(session=self._session)
            pilot = pilots.submit_pilots(rp.PilotDescription(dict(description)))
            # Before the task manager's callback, which fails when tasks have run on RADICAL's workers: those behind it
            # are then not called, and those of the pilots' manager come behind.
            pilot.register_callback(self._on_pilots)
            self._on_pilots([pilot])
            self._manager = rp.TaskManager(session=self._session)
            self._manager.register_callback(self.on_state)
            self._manager.add_pilots(pilot)
            environment = self._environment(pilot)
            self._raptors = pilot.submit_raptors([self._master(i, environment) for i in range(self._config.masters)])
            for i in range(self._config.workers):
                self._raptors[i % len(self._raptors)].submit_workers([self._worker(environment)])
        except BaseException:
            self.close()
            raise

    def _environment(self, pilot: Any) -> dict[str, Any]:
        config = self._config
        if config.pilot_env_mode == "client":
            return {}
        pilot.prepare_env(
            env_name=config.pilot_env_name,
            env_spec={
                "type": config.pilot_env_type,
                "version": config.python_v,
                "path": config.pilot_env_path,
                "setup": list(config.pilot_env_setup),
                "pre_exec": list(config.pilot_env_pre_exec),
            },
        )
        return {"named_env": config.pilot_env_name}

    def _master(self, number: int, environment: Mapping[str, Any]) -> Any:
        return self._rp.TaskDescription(
            {
                "uid": f"raptor.{self._token}.{number:04d}",
                "mode": self._rp.RAPTOR_MASTER,
                "ranks": 1,
                "cores_per_rank": self._config.cores_per_master,
                **environment,
            }
        )

    def _worker(self, environment: Mapping[str, Any]) -> Any:
        config = self._config
        kind = WORKER_TYPES[config.worker_type]
        cores = config.nodes_per_worker * config.worker_cores_per_node
        gpus = config.nodes_per_worker * config.worker_gpus_per_node
        mpi = kind == "MPIWorker"
        return self._rp.TaskDescription(
            {
                "mode": self._rp.RAPTOR_WORKER,
                "raptor_class": kind,
                "ranks": cores if mpi else 1,
                "cores_per_rank": 1 if mpi else cores,
                "gpus_per_rank": gpus / cores if mpi else gpus,
                **environment,
            }
        )

    # -- tasks ---------------------------------------------------------------------------------------------------

    def function(self, text: str, *, guarded: bool, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the call of a function; see `worker.run_for_radical` for the first two arguments."""
        function = self._rp.PythonTask(_BOOTSTRAP, self._path, text, comm=None, guarded=guarded)
        return {"mode": self._rp.TASK_FUNCTION, "function": function, **resources}

    def submit(self, tasks: Mapping[int, Mapping[str, Any]]) -> None:
        """Hand over tasks.

        Args:
            tasks: the entries of their descriptions, by number.
        """
        rp, made = self._rp, []
        for number, entries in tasks.items():
            description = rp.TaskDescription(dict(entries))
            description.uid = f"parsl.{self._token}.{number:06d}"
            if entries.get("mode") == rp.TASK_FUNCTION:
                description.raptor_id = self._raptors[next(self._turns) % len(self._raptors)].uid
            self._numbers[description.uid] = number
            made.append(description)
        try:
            self._manager.submit_tasks(made)
        except BaseException:
            for description in made:
                self._numbers.pop(description.uid, None)
            raise

    def on_state(self, task: Any, state: str) -> None:
        """Take note of the state of a task; on a thread of RADICAL."""
        if state not in _FINAL or self._closing:
            return
        number = self._numbers.pop(task.uid, None)
        if number is not None:
            self._on_task(number, task)
        elif task.mode in {self._rp.RAPTOR_MASTER, self._rp.RAPTOR_WORKER}:
            what = "master" if task.mode == self._rp.RAPTOR_MASTER else "worker"
            said = "; ".join(str(t).strip() for t in (task.exception, task.stderr) if t)
            self._on_loss(f"RADICAL-Pilot's {what} {task.uid}, which runs functions, ended as {state}: {said}")

    def _on_pilots(self, pilots: Any, *_: Any) -> None:
        """Take note of the state of the pilot; on a thread of RADICAL."""
        # RADICAL's documentation says that this is one pilot and its state.
        for pilot in pilots if isinstance(pilots, list) else [pilots]:
            if pilot.state in _FINAL and not self._closing:
                where = f"the pilot {pilot.uid} on {pilot.resource}"
                self._on_loss(f"{where} ended as {pilot.state}; its logs are in {pilot.pilot_sandbox}")

    # -- end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the session with all that runs in it."""
        self._closing = True
        session, self._session = self._session, None
        if session is None:
            return
        uid = str(session.uid)
        try:
            session.close(download=False)
        finally:
            end_leftovers(uid)


def search_path() -> tuple[str, ...]:
    """Return where this process looks for modules, without the standard library, as absolute folders."""
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    folders = [os.path.abspath(folder) for folder in sys.path]
    kept = (f for f in folders if f not in standard and not f.endswith((".zip", "lib-dynload")))
    return tuple(dict.fromkeys(kept))


def end_leftovers(session: str) -> None:
    """End what processes of a session are still there on this host, some seconds after it was closed."""
    import psutil

    ours = psutil.Process().pid

    def left() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            about = process.info
            if about["pid"] != ours and any(
                session in word for word in [*(about["cmdline"] or ()), about["cwd"] or ""]
            ):
                found.append(process)
        return found

    _, alive = psutil.wait_procs(left(), timeout=_LEFTOVER_SECONDS)
    for process in alive:
        logger.info("Process %d, which session %s left behind, is killed", process.pid, session)
        try:
            process.kill()
        except psutil.Error as e:
            logger.warning("Process %d, which session %s left behind, cannot be killed: %s", process.pid, session, e)
    psutil.wait_procs(alive, timeout=_LEFTOVER_SECONDS)
