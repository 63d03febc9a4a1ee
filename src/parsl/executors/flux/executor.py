"""Tasks as jobs of a Flux instance, which is started in a block of a provider."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error
from parsl.errors import ConfigurationError
from parsl.executors.base import FutureCall
from parsl.executors.engine import EngineExecutor
from parsl.executors.errors import EngineWorkerLost, ExecutorShutDownError, InvalidResourceSpecification
from parsl.executors.flux import messages
from parsl.executors.flux.messages import read_result
from parsl.executors.remote_call import CallFailed, failure_of, value_of
from parsl.loop import Loop
from parsl.providers.base import ExecutionProvider
from parsl.representation import RepresentationMixin
from parsl.search_path import script_folders
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.executors.base import Call
    from parsl.executors.flux.block import FluxBlock

logger = logging.getLogger(__name__)

_LEAST = {"num_tasks": 1, "cores_per_task": 1, "gpus_per_task": 0, "num_nodes": 0}


class FluxFutureWrapper(Future[Any]):
    """The future of a call that was submitted without a kernel: can be cancelled until its job runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ask: Callable[[], bool] | None = None
        self._runs: Callable[[], bool] | None = None

    def follow(self, ask: Callable[[], bool], runs: Callable[[], bool]) -> None:
        """Say who cancels the job, and who knows whether it runs."""
        self._ask, self._runs = ask, runs

    def cancel(self) -> bool:
        """Cancel the job if it has not started; return whether it is cancelled."""
        if self.done():
            return self.cancelled() or isinstance(self.exception(), CancelledError)
        return super().cancel() if self._ask is None else self._ask()

    def running(self) -> bool:
        """Tell whether the job runs."""
        return not self.done() and self._runs is not None and self._runs()


class FluxExecutor(EngineExecutor, RepresentationMixin):
    """Runs each task as a job of the Flux resource manager, for tasks of many cores and of many shapes.

    At the start one block is asked for, and a Flux instance is started in it. A task is a process at least, so this is
    not for many short tasks. A resource specification holds `num_tasks` (processes, each of which makes the call, as
    ranks of one MPI program do; the result is that of the first), `cores_per_task`, `gpus_per_task`, and `num_nodes`
    (over which the processes are spread evenly; they do not get the nodes for themselves).

    Args:
        provider: where the block comes from, of `provider.nodes_per_block` nodes; LocalProvider by default.
        working_dir: folder for the files of jobs, and for staged files, which all nodes of the block share; by default
            a new one in the run folder.
        label: name of the executor.
        flux_executor_kwargs: further arguments of `flux.job.FluxExecutor`.
        flux_path: the `flux` command, as it is called in the block; by default the one on this host's PATH.
        launch_cmd: the command that runs in the block, `DEFAULT_LAUNCH_CMD` by default, with the fields `{flux}`,
            `{python}`, `{manager}`, `{protocol}`, `{hostname}` and `{port}`. It starts a Flux instance; where one runs
            already, '{python} {manager} {protocol} {hostname} {port}' does.

    Raises:
        ConfigurationError: (at the start) when there is no `flux` command, or `launch_cmd` has an unknown field.
        TypeError: when an argument is of a wrong type.
    """

    DEFAULT_LAUNCH_CMD = "{flux} start {python} {manager} {protocol} {hostname} {port}"

    @check_types
    def __init__(
        self,
        provider: ExecutionProvider | None = None,
        working_dir: str | None = None,
        label: str = "FluxExecutor",
        flux_executor_kwargs: Mapping[str, Any] = {},
        flux_path: str | None = None,
        launch_cmd: str | None = None,
    ) -> None:
        super().__init__()
        self.label = label
        if provider is None:
            from parsl.providers.local.local import LocalProvider

            provider = LocalProvider()
        self.provider = provider
        self.working_dir = working_dir
        self.flux_executor_kwargs = flux_executor_kwargs
        self.flux_path = flux_path
        self.launch_cmd = launch_cmd or self.DEFAULT_LAUNCH_CMD
        # Set by the kernel; an executor that is used alone makes one of its own.
        self.loop: Loop | None = None
        self._own_loop: Loop | None = None
        self._block: FluxBlock | None = None
        self._lost: EngineWorkerLost | None = None
        self._running: set[int] = set()
        # Who wants to know whether a job was cancelled.
        self._answers: dict[int, Callable[[bool], object]] = {}

    # -- life ----------------------------------------------------------------------------------------------------

    def _start_engine(self) -> None:
        command = self._command()
        if self.loop is None:
            self.loop = self._own_loop = Loop(f"{self.label}-loop")
            self._own_loop.start()
        self._lost = None
        setup = messages.Setup(script_folders(), dict(self.flux_executor_kwargs))
        folder = os.path.join(self.run_dir, self.label)
        os.makedirs(folder, exist_ok=True)
        from parsl.executors.flux.block import FluxBlock

        block = FluxBlock(self.label, self.loop, self.provider, tempfile.mkdtemp(dir=folder), setup)
        block.on_message, block.on_loss = self._on_message, self._on_loss
        try:
            block.start(lambda fields: command.format(**fields), self.working_dir)
        except BaseException:
            block.close()
            self._stop_own_loop()
            raise
        self._block = block

    def _command(self) -> str:
        """Return the command of the block, with the fields that are known when it is started left open.

        Raises:
            ConfigurationError: when it cannot be.
        """
        flux = self.flux_path or shutil.which("flux")
        if flux is None and "{flux}" in self.launch_cmd:
            msg = f"Executor {self.label!r}: there is no `flux` command on PATH; install Flux, or give `flux_path`"
            raise ConfigurationError(msg)
        kept = {name: f"{{{name}}}" for name in ("manager", "protocol", "hostname", "port")}
        try:
            return self.launch_cmd.format(flux=shlex.quote(flux or ""), python=shlex.quote(sys.executable), **kept)
        except (KeyError, IndexError, ValueError) as e:
            msg = (
                f"Executor {self.label!r}: 'launch_cmd' cannot be filled in ({type(e).__name__}: {e}); its fields are "
                f"{{flux}}, {{python}}, {', '.join(kept.values())}"
            )
            raise ConfigurationError(msg) from e

    def shutdown(self, wait: bool = True) -> None:
        """End the Flux instance and its block; calls that have not ended get ExecutorShutDownError.

        Args:
            wait: give the instance some seconds to cancel its jobs, before the block is cancelled.
        """
        if self._block is not None:
            self._block.patient = wait
        super().shutdown()

    def _stop_engine(self) -> None:
        assert self._block is not None
        self._block.close()
        self._block = None
        self._running.clear()
        self._stop_own_loop()

    def _stop_own_loop(self) -> None:
        if self._own_loop is not None:
            self._own_loop.stop()
            self._own_loop.join()
            self._own_loop = self.loop = None

    # -- calls ---------------------------------------------------------------------------------------------------

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> FluxFutureWrapper:
        """Run `func(*args, **kwargs)` as a job, for callers that use the executor without a kernel.

        Raises:
            InvalidResourceSpecification: when the specification is not one that Flux understands.
            SerializationError: when function or arguments cannot be packed.
        """
        if self.loop is None or not self._started:
            raise ExecutorShutDownError(self.label)
        future = FluxFutureWrapper()
        call = FutureCall(func, args, kwargs, resource_specification, future)
        self.loop.call(self.launch, call)
        future.follow(lambda: self._cancel_now(call), lambda: call.executor_id in self._running)
        return future

    def _cancel_now(self, call: FutureCall) -> bool:
        """Cancel a call and wait to hear whether that worked."""
        future, told = call.future, threading.Event()
        # Told by whichever comes first: the answer, or the end of the call for another reason.
        future.add_done_callback(lambda _: told.set())
        loop = self.loop
        if loop is not None:
            loop.post(self.cancel, call, lambda _: told.set())
            told.wait()
        return future.done() and (future.cancelled() or isinstance(future.exception(), CancelledError))

    def _check_resources(self, resources: dict[str, Any]) -> None:
        wrong = {
            key
            for key, value in resources.items()
            if key not in _LEAST or type(value) is not int or value < _LEAST[key]
        }
        if wrong:
            raise InvalidResourceSpecification(
                wrong,
                f"Executor {self.label} takes whole numbers: {', '.join(f'{k} >= {n}' for k, n in _LEAST.items())}.",
            )

    def _send(self, number: int, packed: bytes, references: Sequence[Reference], resources: dict[str, Any]) -> None:
        del references
        if self._lost is not None:
            raise self._lost
        assert self._block is not None
        self._block.send(messages.Run(number, resources), packed)

    def _revoke(self, number: int, handle: Any, answer: Callable[[bool], object]) -> None:
        if self._block is None or self._lost is not None or number in self._running:
            answer(False)
            return
        self._answers[number] = answer
        self._block.send(messages.Drop(number))

    def _on_message(self, message: messages.ToExecutor, frames: list[bytes]) -> None:
        if isinstance(message, messages.Started):
            self._running.add(message.number)
        elif isinstance(message, messages.Dropped):
            answer = self._answers.pop(message.number, None)
            if answer is not None:
                answer(message.done)
        elif isinstance(message, messages.Ended):
            self._on_end(message, frames)

    def _on_end(self, message: messages.Ended, frames: list[bytes]) -> None:
        self._running.discard(message.number)
        call: Call | None = self._open.get(message.number)
        if call is None:
            return
        if not frames:
            self._ended(message.number, Error(EngineWorkerLost(self.label, message.trouble)))
            return
        result = read_result(frames[0])
        if result.exception is not None:
            self._ended(message.number, failure_of(CallFailed(result.exception), call.id))
        else:
            self._ended(message.number, value_of(result.returnval or b""))

    def _on_loss(self, reason: str) -> None:
        """End all calls: the instance is gone, and nothing more can run."""
        if self._lost is not None:
            return
        self._lost = EngineWorkerLost(self.label, reason)
        logger.error("Executor %s can run no more tasks: %s", self.label, reason)
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer(False)
        for number in list(self._open):
            self._ended(number, Error(self._lost))
        self._running.clear()
