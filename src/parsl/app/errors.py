"""The errors of apps, and what carries an exception from a worker to the process that waits for it."""

from __future__ import annotations

import sys
from functools import wraps
from typing import TYPE_CHECKING

from parsl.errors import BadStdStreamFile, ParslError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, NoReturn, ParamSpec, TypeVar

    from parsl.app.exception_codec import EncodedChain

    P = ParamSpec("P")
    R = TypeVar("R")

# `BadStdStreamFile` lives where `parsl.utils`, which raises it too, can import it; this is its public path.
__all__ = [
    "AppBadFormatting",
    "AppException",
    "AppTimeout",
    "BadStdStreamFile",
    "BashAppNoReturn",
    "BashExitFailure",
    "MissingOutputs",
    "RemoteExceptionWrapper",
    "UnpicklableException",
    "wrap_error",
]


class AppException(ParslError):
    """Base class of the errors that end the run of an app."""


class BashExitFailure(AppException):
    """The command line of a bash app ended with an exit code other than 0.

    Where they are known, further attributes say more, and `str()` shows them on lines of their own: `command` (the
    command line), `stdout_path` and `stderr_path` (where its output went), `stderr_tail` (its last words).

    Args:
        app_name: the name of the app.
        exitcode: the exit code as the shell gave it.
    """

    command: str | None = None
    stdout_path: str | None = None
    stderr_path: str | None = None
    stderr_tail: str | None = None

    def __init__(self, app_name: str, exitcode: int) -> None:
        super().__init__(app_name, exitcode)
        self.app_name = app_name
        self.exitcode = exitcode

    def __str__(self) -> str:
        lines = [f"bash_app {self.app_name} failed with unix exit code {self.exitcode}"]
        for name, value in (("command", self.command), ("stdout", self.stdout_path), ("stderr", self.stderr_path)):
            if value:
                lines.append(f"{name}: {value}")
        if self.stderr_tail:
            lines.append(f"the end of stderr:\n{self.stderr_tail.rstrip()}")
        return "\n".join(lines)


class AppTimeout(AppException):
    """An app ran for longer than its `walltime`."""


class BashAppNoReturn(AppException):
    """A bash app did not return the command line to run.

    Args:
        reason: what it did instead: a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class MissingOutputs(ParslError):
    """An app ended well but did not make all the files that it named as its outputs.

    Args:
        reason: what happened: a sentence.
        outputs: the outputs that are missing.
    """

    def __init__(self, reason: str, outputs: Sequence[object]) -> None:
        super().__init__(reason, outputs)
        self.reason = reason
        self.outputs = outputs

    def __str__(self) -> str:
        # repr, because str() of a remote file raises.
        return f"{self.reason} Missing: {', '.join(map(repr, self.outputs))}"


class AppBadFormatting(ParslError):
    """The command line that a bash app returned can't be formatted with its arguments."""


class UnpicklableException(AppException):
    """Stands for an exception that was raised by an app and could not be carried to the process that reads this.

    Args:
        class_name: the full name of the exception's class.
        text: the exception's repr, as the worker saw it.
        reason: why it could not be carried.
        formatted_traceback: its traceback as text; "" if there is none.
    """

    def __init__(self, class_name: str, text: str, reason: str, formatted_traceback: str = "") -> None:
        super().__init__(class_name, text, reason, formatted_traceback)
        self.class_name = class_name
        self.text = text
        self.reason = reason
        self.formatted_traceback = formatted_traceback

    def __str__(self) -> str:
        return f"The app raised {self.class_name}, which could not be brought back ({self.reason}): {self.text}"


class RemoteExceptionWrapper:
    """An exception with its traceback, causes and contexts, in a form that crosses processes.

    Pickling one never fails. The exception is turned into bytes on its own, and an exception that can't be pickled, or
    can't be unpickled on the other side, becomes an `AppException` there that tells its class, its repr and its
    traceback. Within a process the very exception is kept.

    Args:
        e_type: the class of the exception.
        e_value: the exception; None stands for one made by `e_type()`.
        traceback: its traceback, or None. The three are what `sys.exc_info()` returns.
    """

    def __init__(
        self, e_type: type[BaseException], e_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._value: BaseException | None = e_type() if e_value is None else e_value
        self._traceback = traceback
        self._encoded: EncodedChain = []

    def get_exception(self) -> BaseException:
        """Return the exception, with the traceback of where it was raised.

        Returns:
            The exception itself, or where it could not cross, an `AppException` that describes it.
        """
        value = self._value
        if value is None:
            from parsl.app.exception_codec import decode

            value = self._value = decode(self._encoded, UnpicklableException)
            self._traceback = value.__traceback__
        return value.with_traceback(self._traceback)

    def reraise(self) -> NoReturn:
        """Raise the exception, below the traceback of where it was raised first."""
        raise self.get_exception()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._value is not None and not self._encoded:
            from parsl.app.exception_codec import encode

            self._encoded = encode(self._value.with_traceback(self._traceback))
        return _unpickle, (self._encoded,)

    def __repr__(self) -> str:
        name = self._encoded[0].class_name if self._value is None else type(self._value).__name__
        return f"<RemoteExceptionWrapper of {name}>"


def wrap_error(func: Callable[P, R]) -> Callable[P, R | RemoteExceptionWrapper]:
    """Make a function return its exceptions, wrapped, instead of raising them.

    `SystemExit` and `KeyboardInterrupt` still pass: they are meant for the process and not for the caller.

    Args:
        func: the function.

    Returns:
        A function of the same name and parameters.
    """

    @wraps(func)
    def returns_errors(*args: P.args, **kwargs: P.kwargs) -> R | RemoteExceptionWrapper:
        try:
            return func(*args, **kwargs)
        except Exception as exception:  # noqa: BLE001 - whatever an app raises is its result here
            traceback = sys.exc_info()[2]
            # The first frame is the one above this comment, which tells the user nothing.
            return RemoteExceptionWrapper(type(exception), exception, traceback and traceback.tb_next)

    return returns_errors


def _unpickle(encoded: EncodedChain) -> RemoteExceptionWrapper:
    # The exception itself is rebuilt when somebody asks for it: that runs users' code, which may raise.
    wrapper = RemoteExceptionWrapper.__new__(RemoteExceptionWrapper)
    vars(wrapper).update(_value=None, _traceback=None, _encoded=encoded)
    return wrapper
