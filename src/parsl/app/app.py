"""The decorators that make apps of functions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from parsl.app.base import AppBase
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.futures import AppFuture
from parsl.validation import check_types

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["AppBase", "AppFuture", "DataFlowKernel", "bash_app", "join_app", "python_app"]

P = ParamSpec("P")
R = TypeVar("R")
# What a function gives, be it `async def` or not.
Now: TypeAlias = R | Coroutine[Any, Any, R]
Labels = Sequence[str] | Literal["all"]


class _PythonDecorator(Protocol):
    """What `python_app(...)` with options returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, AppFuture[R]]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, AppFuture[R]]: ...


class _BashDecorator(Protocol):
    """What `bash_app(...)` with options returns."""

    def __call__(self, function: Callable[P, str]) -> Callable[P, AppFuture[int]]: ...


class _JoinDecorator(Protocol):
    """What `join_app(...)` with options returns."""

    # A list is what the function returns; a Sequence says that it may be one of any kind of future.
    @overload
    def __call__(self, function: Callable[P, Now[Sequence[Future[R]]]]) -> Callable[P, AppFuture[list[R]]]: ...
    @overload
    def __call__(self, function: Callable[P, Now[Future[R]]]) -> Callable[P, AppFuture[R]]: ...


@overload
def python_app(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, AppFuture[R]]: ...
@overload
def python_app(function: Callable[P, R]) -> Callable[P, AppFuture[R]]: ...
@overload
def python_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: Labels = "all",
    ignore_for_cache: Sequence[str] | None = None,
) -> _PythonDecorator: ...
@check_types
def python_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: Labels = "all",
    ignore_for_cache: Sequence[str] | None = None,
) -> Any:
    """Make an app of a Python function: a call returns the future of its result.

    Args:
        function: the function, when the decorator is used without options; may be `async def`.
        data_flow_kernel: the kernel that runs it; None takes the loaded one at each call.
        cache: remember results for equal calls.
        executors: labels of the executors that may run it, or 'all'.
        ignore_for_cache: names of parameters that don't make calls differ.

    Returns:
        The app, or a decorator that makes it.
    """

    def make(func: Callable[..., Any]) -> Any:
        from parsl.app.python import PythonApp

        return PythonApp(
            func, data_flow_kernel=data_flow_kernel, cache=cache, executors=executors, ignore_for_cache=ignore_for_cache
        )

    return make if function is None else make(function)


@overload
def join_app(function: Callable[P, Now[Sequence[Future[R]]]]) -> Callable[P, AppFuture[list[R]]]: ...
@overload
def join_app(function: Callable[P, Now[Future[R]]]) -> Callable[P, AppFuture[R]]: ...
@overload
def join_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
) -> _JoinDecorator: ...
@check_types
def join_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    ignore_for_cache: Sequence[str] | None = None,
) -> Any:
    """Make an app of a function that itself calls apps, and returns one future or a list of them.

    The function runs in this process, on a thread of the kernel; its future has the results of what it returned.

    Args:
        function: the function, when the decorator is used without options.
        data_flow_kernel: the kernel that runs it; None takes the loaded one at each call.
        cache: remember results for equal calls.
        ignore_for_cache: names of parameters that don't make calls differ.

    Returns:
        The app, or a decorator that makes it.
    """

    def make(func: Callable[..., Any]) -> Any:
        from parsl.app.python import PythonApp

        return PythonApp(
            func,
            data_flow_kernel=data_flow_kernel,
            cache=cache,
            executors="all",
            ignore_for_cache=ignore_for_cache,
            join=True,
        )

    return make if function is None else make(function)


@overload
def bash_app(function: Callable[P, str]) -> Callable[P, AppFuture[int]]: ...
@overload
def bash_app(
    function: None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: Labels = "all",
    ignore_for_cache: Sequence[str] | None = None,
) -> _BashDecorator: ...
@check_types
def bash_app(
    function: Callable[..., Any] | None = None,
    data_flow_kernel: DataFlowKernel | None = None,
    cache: bool = False,
    executors: Labels = "all",
    ignore_for_cache: Sequence[str] | None = None,
) -> Any:
    """Make an app of a function that returns a command line for bash: a call returns the future of the exit code.

    Args:
        function: the function, when the decorator is used without options.
        data_flow_kernel: the kernel that runs it; None takes the loaded one at each call.
        cache: remember results for equal calls.
        executors: labels of the executors that may run it, or 'all'.
        ignore_for_cache: names of parameters that don't make calls differ.

    Returns:
        The app, or a decorator that makes it.
    """

    def make(func: Callable[..., Any]) -> Any:
        from parsl.app.bash import BashApp

        return BashApp(
            func, data_flow_kernel=data_flow_kernel, cache=cache, executors=executors, ignore_for_cache=ignore_for_cache
        )

    return make if function is None else make(function)
