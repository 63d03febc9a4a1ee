"""What all apps have in common."""

from __future__ import annotations

import functools
import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any

from parsl.dataflow.dependency_resolvers import deep_traverse_to_gather
from parsl.dataflow.dflow import DataFlowKernelLoader

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.dataflow.futures import AppFuture

# Parameters that the kernel itself reads: their defaults count as if they had been given.
_SPECIAL = ("inputs", "outputs", "stdout", "stderr", "walltime", "parsl_resource_specification", "parsl_executors")


class AppBase(metaclass=ABCMeta):
    """A function that is run as a task when it is called.

    Args:
        func: the user's function.
        data_flow_kernel: the kernel that runs it; None takes the loaded one at each call.
        executors: labels of the executors that may run it, or 'all'.
        cache: remember results for equal calls.
        ignore_for_cache: names of parameters that don't make calls differ.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        data_flow_kernel: DataFlowKernel | None = None,
        executors: str | Sequence[str] = "all",
        cache: bool = False,
        ignore_for_cache: Sequence[str] | None = None,
    ) -> None:
        # A class has methods in its dictionary, which would hide ours.
        functools.update_wrapper(self, func, updated=() if isinstance(func, type) else functools.WRAPPER_UPDATES)
        self.func = func
        self.data_flow_kernel = data_flow_kernel
        self.executors = executors
        self.cache = cache
        self.ignore_for_cache = ignore_for_cache
        try:
            parameters = inspect.signature(func).parameters
            self._takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        except ValueError:
            # Some built-in functions and classes, int for one, do not tell their parameters.
            parameters, self._takes_any = MappingProxyType({}), True
        self._names = frozenset(parameters)
        # Defaults that matter before the function runs: those of special parameters, and futures. With each, its
        # position, since an argument given there takes its place.
        self._defaults = [
            (i, name, p.default)
            for i, (name, p) in enumerate(parameters.items())
            if p.default is not inspect.Parameter.empty
            and p.kind is not p.POSITIONAL_ONLY
            and (name in _SPECIAL or deep_traverse_to_gather(p.default))
        ]

        self.travelling = _without_futures(func, self._defaults)

    @property
    def kernel(self) -> DataFlowKernel:
        """The kernel that runs the app now."""
        return self.data_flow_kernel or DataFlowKernelLoader.dfk()

    def with_defaults(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return `kwargs` with the defaults that matter before the function runs."""
        if not self._defaults:
            return kwargs
        given = len(args)
        return {**{name: value for i, name, value in self._defaults if i >= given}, **kwargs}

    def accepts(self, name: str) -> bool:
        """Tell whether the user's function can be given a keyword argument."""
        return self._takes_any or name in self._names

    @abstractmethod
    def __call__(self, /, *args: Any, **kwargs: Any) -> AppFuture[Any]:
        """Have a kernel run the function, and return the future of its result."""

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind the app to an instance, when it is a method."""
        return self if instance is None else functools.partial(self, instance)


def _without_futures(func: Callable[..., Any], defaults: Sequence[tuple[int, str, Any]]) -> Callable[..., Any]:
    """Return a function as it can travel to a worker: without futures among its defaults, which each call brings."""
    futures = {name for _, name, value in defaults if deep_traverse_to_gather(value)}
    if not futures or not isinstance(func, FunctionType):
        return func
    names = func.__code__.co_varnames[: func.__code__.co_argcount]
    given = func.__defaults__ or ()
    positional = zip(names[len(names) - len(given) :], given, strict=True)
    rest = tuple(None if name in futures else value for name, value in positional)
    copy = FunctionType(func.__code__, func.__globals__, func.__name__, rest, func.__closure__)
    functools.update_wrapper(copy, func)
    del copy.__wrapped__  # type: ignore[attr-defined]  # it is the function with the futures
    copy.__kwdefaults__ = {k: None if k in futures else v for k, v in (func.__kwdefaults__ or {}).items()}
    return copy
