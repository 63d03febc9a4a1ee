"""Tasks on Globus Compute endpoints, through the SDK's own executor."""

from __future__ import annotations

import builtins
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future
from types import FunctionType
from typing import TYPE_CHECKING, Any

from parsl.dataflow.references import Reference
from parsl.dataflow.taskrecord import Error, Outcome, Value
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.engine import EngineExecutor
from parsl.executors.errors import ExecutorShutDownError, InvalidResourceSpecification
from parsl.executors.remote_call import note
from parsl.representation import RepresentationMixin
from parsl.serialize.errors import SerializationError
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.data_provider.staging import Staging
    from parsl.executors.base import Call

logger = logging.getLogger(__name__)


def _portable() -> Callable[[bytes], bytes]:
    """Make the function that runs on an endpoint's worker; it travels whole, so the worker needs no package of ours."""

    def run_dilled(call: bytes) -> bytes:
        import os
        import socket
        import traceback

        import dill

        where = f"host {socket.gethostname()}, process {os.getpid()}"
        try:
            function, args, kwargs = dill.loads(call)  # noqa: S301 - what our own side has packed
            result = function(*args, **kwargs)
        except BaseException as e:  # noqa: BLE001 - whatever the task raises is its result
            try:
                # Workers of Globus Compute have it, as Parsl itself wants it.
                from tblib import Traceback

                frames = Traceback(e.__traceback__.tb_next).to_dict() if e.__traceback__ else None
            except Exception:  # noqa: BLE001 - frames are good to have, and not more
                frames = None
            try:
                return bytes(dill.dumps(("raised", (e, frames), where)))
            except Exception:  # noqa: BLE001 - then its text has to do
                text = "".join(traceback.format_exception(type(e), e, e.__traceback__))
                return bytes(dill.dumps(("raised", (RuntimeError(text), None), where)))
        try:
            return bytes(dill.dumps(("returned", result, where)))
        except Exception as e:  # noqa: BLE001 - packing runs users' code
            return bytes(dill.dumps(("unpackable", f"the result of type {type(result).__name__} ({e})", where)))

    # As if of a script that has nothing else: functions of modules travel by name, others with the names around them.
    return FunctionType(run_dilled.__code__, {"__name__": "__main__", "__builtins__": builtins}, "run_dilled")


run_dilled = _portable()


class GlobusComputeExecutor(EngineExecutor, RepresentationMixin):
    """Runs tasks on an endpoint of Globus Compute.

    A resource specification is passed on to the endpoint, which knows what it may hold; the entry
    `user_endpoint_config` in it is that of the endpoint, for this task. Without one, what the SDK's executor says
    holds. Tasks that are with the service can't be cancelled; it limits arguments and results to some megabytes.

    Args:
        executor: a `globus_compute_sdk.Executor`, made for an endpoint. It is shut down with this executor, and
            can't be used again then.
        label: name of the executor.
        storage_access: staging providers, or None for the default ones.
        working_dir: folder into which files are staged.

    Raises:
        OptionalModuleMissing: (at the start) when the SDK is not installed.
        TypeError: when an argument is of a wrong type.
    """

    @check_types
    def __init__(
        self,
        executor: Executor,
        label: str = "GlobusComputeExecutor",
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.executor: Any = executor
        self.label = label
        self.storage_access = storage_access
        self.working_dir = working_dir
        self._ended_for_good = False
        # What a task asks for is told to the SDK by attributes of its executor.
        self._asking = threading.Lock()

    def _start_engine(self) -> None:
        if self._ended_for_good:
            msg = f"Executor {self.label!r} has shut down its globus_compute_sdk.Executor: make a new one of each"
            raise ConfigurationError(msg)

    def _stop_engine(self) -> None:
        self._ended_for_good = True
        # Nobody waits for tasks that are with the service any more.
        self.executor.shutdown(wait=False, cancel_futures=True)

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Hand a function to the SDK as it is, for callers that use the executor without a kernel.

        Returns:
            The SDK's own future, whose exceptions are the SDK's.

        Raises:
            InvalidResourceSpecification: when the SDK does not take the specification.
        """
        if self._ended_for_good:
            raise ExecutorShutDownError(self.label)
        return self._ask(resource_specification, func, *args, **kwargs)

    def _ask(self, resources: dict[str, Any], func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a function with what one task asks for."""
        sdk = self.executor
        if not resources:
            future: Future[Any] = sdk.submit(func, *args, **kwargs)
            return future
        rest = dict(resources)
        with self._asking:
            before = sdk.resource_specification, sdk.user_endpoint_config
            try:
                if "user_endpoint_config" in rest:
                    sdk.user_endpoint_config = rest.pop("user_endpoint_config")
                if rest:
                    sdk.resource_specification = rest
                future = sdk.submit(func, *args, **kwargs)
            except TypeError as e:
                raise InvalidResourceSpecification(set(resources), str(e)) from e
            finally:
                sdk.resource_specification, sdk.user_endpoint_config = before
        return future

    def _pack(self, call: Call) -> tuple[bytes, Sequence[Reference]]:
        return _dilled(call), ()

    def _send(
        self, number: int, packed: bytes, references: Sequence[Reference], resources: dict[str, Any]
    ) -> Future[Any]:
        future = self._ask(resources, run_dilled, packed)
        future.add_done_callback(lambda f: self._on_end(number, f))
        return future

    def _on_end(self, number: int, future: Future[Any]) -> None:
        call = self._open.get(number)
        if call is None:
            return
        try:
            answer = future.result()
        except CancelledError as e:
            self._ended(number, Error(e))
        except BaseException as e:  # noqa: BLE001 - what the service says is the error of this one task
            self._ended(number, Error(e))
        else:
            self._ended(number, _outcome_of(answer, call.id))

    def _revoke(self, number: int, handle: Future[Any], answer: Callable[[bool], object]) -> None:
        answer(handle.cancel())


def _dilled(call: Call) -> bytes:
    """Pack a call with what the SDK itself packs with.

    Raises:
        SerializationError: when it cannot be packed.
        OptionalModuleMissing: when dill is not installed.
    """
    try:
        import dill
    except ImportError as e:
        raise OptionalModuleMissing(["dill"], "The GlobusComputeExecutor needs the extra 'globus_compute'.") from e
    try:
        return bytes(dill.dumps((call.func, call.args, call.kwargs)))
    except Exception as e:
        raise SerializationError(getattr(call.func, "__name__", repr(call.func))) from e


def _outcome_of(answer: bytes, task_id: int) -> Outcome:
    """Unpack what `run_dilled` returned; what cannot be unpacked is the error of this one task."""
    import dill

    try:
        kind, content, where = dill.loads(answer)  # noqa: S301 - from a worker of ours, through the service
    except Exception as e:  # noqa: BLE001 - unpacking runs users' code
        return Error(e)
    if kind == "returned":
        return Value(content)
    if kind == "unpackable":
        return Error(SerializationError(content))
    exception, frames = content
    if frames is not None:
        from tblib import Traceback

        exception = exception.with_traceback(Traceback.from_dict(frames).as_traceback())
    note(exception, f"in task {task_id} on {where}")
    return Error(exception)
