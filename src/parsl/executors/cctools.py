"""What the executors on the engines of cctools, Work Queue and TaskVine, have in common.

The engine's manager runs in a process of its own, see `cctools_manager`. Here are the calls on their way to it: packed,
with the files that they need, and their answers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import socket
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.errors import OptionalModuleMissing
from parsl.executors.base import Call
from parsl.executors.cctools_ends import reason_of
from parsl.executors.cctools_files import Files
from parsl.executors.cctools_messages import (
    Cancel,
    Cancelled,
    End,
    Ends,
    FromManager,
    ManagerConfig,
    Stop,
    Task,
)
from parsl.executors.cctools_process import ManagerProcess
from parsl.executors.cctools_task import outcome_in, wrap_call
from parsl.executors.engine import EngineExecutor
from parsl.executors.errors import BadStateException, ExecutorShutDownError, InvalidResourceSpecification
from parsl.executors.high_throughput.streams import Stream
from parsl.executors.remote_call import pack_call
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.loop import Loop
from parsl.search_path import script_folders

if TYPE_CHECKING:
    from parsl.dataflow.references import Reference

logger = logging.getLogger(__name__)

# Larger calls go to the manager as files.
LARGEST_INLINE = 64 * 1024

RESOURCES = frozenset({"cores", "memory", "disk", "gpus", "priority", "running_time_min", "running_time_max"})
"""What a resource specification may hold."""


class CctoolsExecutor(EngineExecutor, BlockProviderExecutor):
    """Base of the executors on Work Queue and TaskVine.

    A subclass says how the engine is called and made, which files are shared, and how its errors are called.

    Attributes:
        modules: names of the modules with the engine's library; one of them must be there.
        engine: the class that drives the engine in the manager's process, `module:class`.
        failure: the error when the manager cannot start or has ended.
    """

    modules: tuple[str, ...]
    engine: str
    failure: type[Exception]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Set by the kernel; an executor that is used alone makes one of its own.
        self.loop: Loop | None = None
        self._own_loop: Loop | None = None
        self._process: ManagerProcess | None = None
        self._stream: Stream | None = None
        self._codec = msgspec.msgpack.Decoder(FromManager)
        self._function_dir = ""
        self._answers: dict[int, Callable[[bool], object]] = {}
        self._port = 0
        self._ending = False
        # Where workers that see this machine's files may find modules.
        self._path: tuple[str, ...] = ()

    # -- what a subclass says ------------------------------------------------------------------------------------

    @abstractmethod
    def _engine_options(self) -> dict[str, Any]:
        """Return what the class that drives the engine is made with."""

    @abstractmethod
    def _task_failure(self, reason: str, status: int, *, lost: bool) -> Exception:
        """Return the error of a task that the engine has ended."""

    @property
    @abstractmethod
    def _file_options(self) -> dict[str, bool]:
        """Whether files are `shared`, and whether workers may `cache` them."""

    def _category(self, call: Call) -> str:
        """Return the name of the tasks that are taken to need what this one needs."""
        del call
        return "default"

    def _wanted_function_dir(self) -> str | None:
        """Return the folder for large calls and answers that the user has named."""
        return None

    @property
    def _project(self) -> str | None:
        """The name under which the manager is found in a catalogue."""
        return None

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def logdir(self) -> str:
        """Folder of the executor's logs."""
        return os.path.abspath(os.path.join(self.run_dir, self.label))

    def _start_engine(self) -> None:
        if not any(_is_there(m) for m in self.modules):
            reason = f"{type(self).__name__} needs the library of cctools: conda install -c conda-forge ndcctools"
            raise OptionalModuleMissing([self.modules[-1]], reason)
        self._bad_state = None
        self._begin_blocks()
        self._ending = False
        self._path = script_folders()
        if self.loop is None:
            self.loop = self._own_loop = Loop(f"{self.label}-loop")
            self._own_loop.start()
        os.makedirs(self.logdir, exist_ok=True)
        wanted = self._wanted_function_dir()
        if wanted is not None:
            os.makedirs(wanted, exist_ok=True)
        # A folder of this start alone, which goes at the end with all that is in it.
        self._function_dir = tempfile.mkdtemp(prefix="function_data-", dir=os.path.abspath(wanted or self.logdir))
        try:
            self._start_manager(self.loop)
            self.initialize_scaling()
            self._start_workers()
        except BaseException:
            self._stop_engine()
            raise

    def initialize_scaling(self) -> None:
        """Get ready to ask for blocks; the poller then asks for the first ones."""

    def _start_workers(self) -> None:
        """Start what starts workers, unless blocks do."""

    def _stop_workers(self) -> None:
        """End what `_start_workers` started."""

    def _start_manager(self, loop: Loop) -> None:
        config = ManagerConfig(
            self.engine, self.label, self.logdir, self._engine_options(), project=self._project is not None
        )
        self._process = ManagerProcess(self.label, self.logdir, self.failure)
        connection = self._process.start(config)
        self._port = self._process.port
        loop.call(self._connect, connection)

    def _connect(self, connection: socket.socket) -> None:
        assert self.loop is not None
        self._stream = Stream(self.loop, connection, self._received, self._manager_ended)

    def _manager_ended(self) -> None:
        if not self._ending and self._process is not None:
            self.set_bad_state_and_fail_all(self._process.obituary())

    def _stop_engine(self) -> None:
        self._ending = True
        # While their manager is there: one that has lost it looks for it, and is slow to hear that it shall end.
        self._stop_workers()
        if self._stream is not None and self.loop is not None:
            self.loop.call(self._disconnect)
        # It ends by the message, or at the latest by the end of the stream.
        if self._process is not None:
            self._process.wait()
            self._process = None
        self.cancel_all_blocks()
        shutil.rmtree(self._function_dir, ignore_errors=True)
        if self._own_loop is not None:
            self._own_loop.stop()
            self._own_loop.join()
            self._own_loop = self.loop = None

    def _disconnect(self) -> None:
        assert self._stream is not None
        self._transmit(Stop())
        self._stream.close(linger=1000)
        self._stream = None
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer(False)

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """End the manager and all blocks; calls that have not ended get ExecutorShutDownError.

        Args:
            args: kept for earlier callers.
            kwargs: the same.
        """
        del args, kwargs
        super().shutdown()

    # -- calls ---------------------------------------------------------------------------------------------------

    def _check_resources(self, resources: dict[str, Any]) -> None:
        unknown = set(resources) - RESOURCES
        if unknown:
            raise InvalidResourceSpecification(unknown, f"Executor {self.label} knows {sorted(RESOURCES)}.")
        wrong = {k for k, v in resources.items() if isinstance(v, bool) or not isinstance(v, (int, float))}
        wrong |= {k for k, v in resources.items() if k not in wrong and k != "priority" and not 0 <= v < float("inf")}
        if wrong:
            raise InvalidResourceSpecification(wrong, "They must be numbers, and all but the priority at least 0.")

    def launch(self, call: Call) -> None:
        """Hand a call to the engine, with the files that it names; its end is told to `call.done`."""
        if self._bad_state is not None:
            raise BadStateException(self, self._bad_state)
        super().launch(call)

    def _pack(self, call: Call) -> tuple[Task, Sequence[Reference]]:
        files = Files(**self._file_options)
        args, kwargs = files.of_call(call.args, call.kwargs)
        packed, references = pack_call(call.func, args, kwargs)
        category = self._category(call)
        task = Task(0, wrap_call(packed, self._path), "", "", category, {}, files.inputs, files.outputs)
        return task, references

    def _send(self, number: int, packed: Task, references: Sequence[Reference], resources: dict[str, Any]) -> bool:
        del references  # nothing stays in these engines
        assert self.loop is not None
        packed.number = number
        packed.resources = resources
        packed.result_path = self._result_path(number)
        if len(packed.call) > LARGEST_INLINE or self._wanted_function_dir() is not None:
            packed.call_path = os.path.join(self._function_dir, f"{number}.call")
            with open(packed.call_path, "wb") as file:
                file.write(packed.call)
            packed.call = b""
        self.loop.call(self._transmit, packed)
        self._check_demand()
        return bool(packed.call_path)

    def _result_path(self, number: int) -> str:
        return os.path.join(self._function_dir, f"{number}.result")

    def _revoke(self, number: int, handle: Any, answer: Callable[[bool], object]) -> None:
        if self._stream is None:
            answer(False)
            return
        self._answers[number] = answer
        self._transmit(Cancel(number))

    def _ended(self, number: int, outcome: Outcome) -> None:
        if self._handles.get(number):
            _remove(os.path.join(self._function_dir, f"{number}.call"))
        super()._ended(number, outcome)

    def _fail_all(self, exception: Exception) -> None:
        for number in list(self._open):
            self._ended(number, Error(exception))

    def _check_demand(self) -> None:
        if self.demand_changed is not None:
            self.demand_changed()

    def _transmit(self, message: Any) -> None:
        if self._stream is None:
            raise ExecutorShutDownError(self.label)
        self._stream.send([msgspec.msgpack.encode(message)])

    # -- what the manager says, on the loop ----------------------------------------------------------------------

    def _received(self, data: memoryview) -> None:
        message = self._codec.decode(data)
        if isinstance(message, Ends):
            for end in message.ends:
                self._task_ended(end)
        elif isinstance(message, Cancelled):
            answer = self._answers.pop(message.number, None)
            if answer is not None:
                answer(message.done)

    def _task_ended(self, end: End) -> None:
        call = self._open.get(end.number)
        path = self._result_path(end.number)
        answer = _take(path)
        if call is None:
            return  # one that was given up before
        outcome = outcome_in(answer, call.id) if answer is not None else None
        if outcome is None or (isinstance(outcome, Value) and end.result != "success"):
            # An answer that is there says more, unless it says that all went well when the engine says that it did not.
            reason, lost = reason_of(end)
            outcome = Error(self._task_failure(reason, end.status, lost=lost))
        self._ended(end.number, outcome)

    # -- scaling -------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> Mapping[Any, Future[Any]]:
        """The futures of calls that have not ended, by their numbers."""
        calls: dict[int, Any] = dict(self._open)
        return {number: getattr(call, "future", None) or call.app_fu for number, call in calls.items()}

    def outstanding(self) -> int:
        """Return how many cores the calls want that have not ended: one for each that does not say."""
        calls = list(self._open.values())
        return sum(max(1, int(c.resource_specification.get("cores", 1))) for c in calls)

    def _manager_address(self) -> str:
        """Return the name of this host for blocks."""
        from parsl.providers.local.local import LocalProvider

        return "127.0.0.1" if isinstance(self._provider, LocalProvider) else socket.gethostname()


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _take(path: str) -> bytes | None:
    """Return what is in a file, and remove it; None when there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    _remove(path)
    return data


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
