"""Tasks on a pilot of RADICAL-Pilot: functions by its workers, bash apps as executables, both with MPI."""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from parsl.dataflow.placement import Room
from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.engine import EngineExecutor
from parsl.executors.errors import EngineWorkerLost
from parsl.executors.radical import rpex_resources, translate
from parsl.executors.radical.pilot import Pilot
from parsl.executors.radical.rpex_resources import WORKER_TYPES, ResourceConfig
from parsl.executors.radical.worker import EXCEPTION, LOST, RankCall, read_answers
from parsl.executors.remote_call import CallFailed, failure_of, pack_call, value_of
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.executors.base import Call

logger = logging.getLogger(__name__)


class RadicalPilotExecutor(EngineExecutor, RepresentationMixin):
    """Runs tasks on a pilot: RADICAL-Pilot's own allocation on a machine, in which it schedules tasks of many shapes.

    Python apps run on RADICAL's workers (RAPTOR), bash apps as executables of their own. A resource specification
    holds what a RADICAL task description does: `ranks`, `cores_per_rank`, `gpus_per_rank`, `mem_per_rank` (MB),
    `timeout` (s), `named_env` and so on. A function on several ranks gets their MPI communicator as the argument
    `comm`, and its result is the list of what the ranks returned; that needs workers of type 'MPIWorker'.

    A script that uses it needs `if __name__ == "__main__":` round what it does, since RADICAL-Pilot imports it again.

    Args:
        resource: the machine, in RADICAL's words, such as 'local.localhost' or 'ornl.frontier'.
        label: name of the executor.
        bulk_mode: hand over tasks as many at once as have gathered, instead of one by one: better for thousands.
        working_dir: folder on the machine for RADICAL's sandboxes, and into which files are staged.
        rpex_cfg: what of the pilot runs functions; ResourceConfig() by default.
        rpex_pilot_kwargs: further entries of the pilot's description, such as `cores` or `nodes`, `gpus`, `runtime`
            (minutes), `queue`, `project`, `access_schema`.

    Raises:
        OptionalModuleMissing: (at the start) when radical.pilot is not installed.
        ConfigurationError: (at the start) when the settings contradict each other.
        TypeError: when an argument is of a wrong type.
    """

    @check_types
    def __init__(
        self,
        resource: str,
        label: str = "RPEX",
        bulk_mode: bool = False,
        working_dir: str | None = None,
        rpex_cfg: ResourceConfig | None = None,
        **rpex_pilot_kwargs: Any,
    ) -> None:
        super().__init__()
        self.resource = resource
        self.label = label
        self.bulk_mode = bulk_mode
        self.working_dir = working_dir
        self.rpex_cfg = rpex_cfg
        self.rpex_pilot_kwargs = rpex_pilot_kwargs
        self._config = rpex_cfg or ResourceConfig()
        self._pilot: Pilot | None = None
        self._lost: EngineWorkerLost | None = None
        # What waits to be handed to RADICAL, by a thread of its own, since that takes milliseconds. None ends it.
        self._to_submit: SimpleQueue[int | None] = SimpleQueue()
        self._descriptions: dict[int, dict[str, Any]] = {}
        self._bash: dict[int, translate.BashTask] = {}
        self._submitting = threading.Lock()
        self._courier: threading.Thread | None = None

    # -- life ----------------------------------------------------------------------------------------------------

    def _start_engine(self) -> None:
        self._check()
        try:
            import radical.pilot
        except ImportError as e:
            needed = "The RadicalPilotExecutor needs the extra 'radical-pilot'."
            raise OptionalModuleMissing(["radical.pilot"], needed) from e
        self._lost = None
        folder = os.path.abspath(os.path.join(self.run_dir, self.label))
        os.makedirs(folder, exist_ok=True)
        # Else RADICAL ends this process with a signal when the pilot fails, before anybody is told of it.
        defaults = {"resource": self.resource, "runtime": 30, "exit_on_error": False}
        description = {**defaults, **self.rpex_pilot_kwargs}
        if self.working_dir is not None:
            description.setdefault("sandbox", self.working_dir)
        self._pilot = Pilot(radical.pilot, self._config, self._on_task, self._on_loss)
        self._pilot.start(folder, description)
        self._to_submit = SimpleQueue()
        self._courier = threading.Thread(target=self._submit_all, name=f"{self.label}-courier", daemon=True)
        self._courier.start()

    def _check(self) -> None:
        rpex_resources.check(self._config)
        cores, needed = self.rpex_pilot_kwargs.get("cores"), rpex_resources.cores_needed(self._config)
        if isinstance(cores, int) and cores < needed:
            msg = (
                f"Executor {self.label!r}: the pilot has cores={cores}, but masters and workers of rpex_cfg take "
                f"{needed}; ask for more, or set worker_cores_per_node to less"
            )
            raise ConfigurationError(msg)

    def _stop_engine(self) -> None:
        self._to_submit.put(None)
        if self._courier is not None:
            self._courier.join()
        assert self._pilot is not None
        self._pilot.close()
        self._pilot = None
        self._descriptions.clear()
        self._bash.clear()

    def shutdown(self, hub: bool = True, targets: str | Sequence[str] = "all", block: bool = False) -> None:
        """End the pilot; calls that have not ended get ExecutorShutDownError.

        Args:
            hub: kept for earlier callers, as are the others: all of the pilot ends, and is waited for.
            targets: see `hub`.
            block: see `hub`.
        """
        del hub, targets, block
        super().shutdown()

    # -- calls ---------------------------------------------------------------------------------------------------

    @property
    def _mpi(self) -> bool:
        return WORKER_TYPES[self._config.worker_type] == "MPIWorker"

    def unwrap(
        self, func: Callable[..., Any], args: tuple[Any, ...]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], str]:
        """Return the user's function of an app, the arguments, and how it runs: 'executable' or 'function'."""
        inner = translate.bash_function(func)
        return (func, args, "function") if inner is None else (inner, args, "executable")

    def task_translate(
        self,
        tid: int,
        func: Callable[..., Any],
        parsl_resource_specification: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        """Describe a call in RADICAL's terms.

        Args:
            tid: the executor's number of the call.
            func: what to call.
            parsl_resource_specification: what it asks for.
            args: positional arguments.
            kwargs: keyword arguments.

        Returns:
            The entries of a `radical.pilot.TaskDescription`.
        """
        inner, args, kind = self.unwrap(func, args)
        if kind == "executable":
            bash = self._bash[tid] = translate.BashTask(inner, args, kwargs)
            return bash.description(parsl_resource_specification)
        many = parsl_resource_specification.get("ranks", 1) > 1
        packed, _ = pack_call(RankCall(func) if many else func, args, kwargs)
        return self._function(packed, parsl_resource_specification)

    def _function(self, packed: bytes, resources: Mapping[str, Any]) -> dict[str, Any]:
        assert self._pilot is not None
        return self._pilot.function(base64.b64encode(packed).decode(), guarded=not self._mpi, resources=resources)

    def launch(self, call: Call) -> None:
        """Hand a call to RADICAL-Pilot; its end is told to `call.done`."""
        if self._lost is not None:
            raise self._lost
        super().launch(call)

    def _pack(self, call: Call) -> tuple[bytes, Sequence[Reference]]:
        function = translate.bash_function(call.func) is None
        if call.resource_specification:
            translate.check_specification(call.resource_specification, function=function, mpi=self._mpi)
        # It is packed as part of its description, which wants its number.
        return b"", ()

    def _send(self, number: int, packed: bytes, references: Sequence[Reference], resources: dict[str, Any]) -> int:
        if self._lost is not None:
            # It came while the loss was told to all others.
            self._settle(number, Error(self._lost))
            return number
        call = self._open[number]
        try:
            description = self.task_translate(number, call.func, resources, call.args, call.kwargs)
        except BaseException:
            self._bash.pop(number, None)
            raise
        self._descriptions[number] = description
        self._to_submit.put(number)
        return number

    def _submit_all(self) -> None:
        """Hand over what has gathered, again and again; on the courier."""
        while (number := self._to_submit.get()) is not None:
            numbers = [number]
            while self.bulk_mode:
                try:
                    more = self._to_submit.get_nowait()
                except Empty:
                    break
                if more is None:
                    self._to_submit.put(None)
                    break
                numbers.append(more)
            with self._submitting:
                taken = {n: d for n in numbers if (d := self._descriptions.pop(n, None)) is not None}
            try:
                if taken:
                    assert self._pilot is not None
                    self._pilot.submit(taken)
            except Exception as e:  # noqa: BLE001 - what RADICAL says to these tasks is their error
                for n in taken:
                    self._settle(n, Error(e))

    def _revoke(self, number: int, handle: Any, answer: Callable[[bool], object]) -> None:
        # RADICAL may drop a task that it has taken or not, and may never say so.
        with self._submitting:
            found = self._descriptions.pop(number, None) is not None
        if found:
            self._bash.pop(number, None)
        answer(found)

    def room(self) -> Room:
        """Tell how many calls there are, for how many cores of workers."""
        config = self._config
        cores = 0 if self._lost is not None else config.workers * config.nodes_per_worker * config.worker_cores_per_node
        return Room(len(self._open), cores, cores)

    # -- ends, on threads of RADICAL -----------------------------------------------------------------------------

    def task_state_cb(self, task: Any, state: str) -> None:
        """Take note of the state of a RADICAL task; for RADICAL itself."""
        if self._pilot is not None:
            self._pilot.on_state(task, state)

    def _on_task(self, number: int, task: Any) -> None:
        """Take note of the end of a task."""
        call = self._open.get(number)
        bash = self._bash.get(number)
        if call is None:
            return
        try:
            outcome = self._outcome_of_bash(bash, task) if bash is not None else self._outcome(task, call.id)
        except Exception as e:  # noqa: BLE001 - reading an answer runs users' code, and is this one task's error
            outcome = Error(e)
        self._settle(number, outcome)

    def _settle(self, number: int, outcome: Outcome) -> None:
        self._bash.pop(number, None)
        self._ended(number, outcome)

    def _outcome_of_bash(self, bash: translate.BashTask, task: Any) -> Outcome:
        if task.state == "CANCELED":
            reason = "RADICAL-Pilot cancelled the task, as it does at the `timeout` of a specification"
            return Error(EngineWorkerLost(self.label, reason))
        if task.exit_code is None and task.state == "FAILED":
            return Error(EngineWorkerLost(self.label, _said(task)))
        return Value(bash.judge(task.exit_code))

    def _outcome(self, task: Any, task_id: int) -> Outcome:
        values = task.return_value
        texts = values if isinstance(values, list) else [values]
        if task.state != "DONE" or not all(isinstance(text, str) for text in texts):
            return Error(EngineWorkerLost(self.label, _said(task)))
        answers = read_answers(texts)
        for answer in answers:
            if answer[:1] == EXCEPTION:
                return failure_of(CallFailed(answer[1:]), task_id)
            if answer[:1] == LOST:
                return Error(EngineWorkerLost(self.label, answer[1:].decode()))
        outcomes = [value_of(answer[1:]) for answer in answers]
        for outcome in outcomes:
            if len(outcomes) == 1 or isinstance(outcome, Error):
                return outcome
        return Value([outcome.result for outcome in outcomes if isinstance(outcome, Value)])

    def _on_loss(self, reason: str) -> None:
        """End all calls: the pilot, or what runs functions in it, is gone."""
        if self._lost is not None:
            return
        self._lost = EngineWorkerLost(self.label, reason)
        logger.error("Executor %s can run no more tasks: %s", self.label, reason)
        for number in list(self._open):
            self._settle(number, Error(self._lost))


def _said(task: Any) -> str:
    """Say what RADICAL-Pilot knows of a task that did not do what it should."""
    parts = [f"the task ended as {task.state}", task.exception, *_texts(task.stderr)]
    return "; ".join(str(part).strip() for part in parts if part)


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
