"""Apps that are command lines, made by a Python function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parsl.app.base import AppBase
from parsl.app.bash_command import remote_side_bash_executor

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.dataflow.futures import AppFuture

__all__ = ["BashApp", "remote_side_bash_executor"]


class BashApp(AppBase):
    """An app whose function returns a command line, which a worker has bash run.

    The future's result is the exit code, which is 0: any other makes the future fail with BashExitFailure.

    Args:
        func: the user's function, returning the command line.
        data_flow_kernel: the kernel that runs it; None takes the loaded one at each call.
        cache: remember results for equal calls.
        executors: labels of the executors that may run it, or 'all'.
        ignore_for_cache: names of parameters that don't make calls differ.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        data_flow_kernel: DataFlowKernel | None = None,
        cache: bool = False,
        executors: str | Sequence[str] = "all",
        ignore_for_cache: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            func, data_flow_kernel=data_flow_kernel, executors=executors, cache=cache, ignore_for_cache=ignore_for_cache
        )
        # One object for the life of the app, so that a worker is sent the function once.
        func = self.travelling
        self._callable = functools.update_wrapper(functools.partial(remote_side_bash_executor, func), func)

    def __call__(self, /, *args: Any, **kwargs: Any) -> AppFuture[Any]:
        """Have a kernel run the command line.

        Returns:
            The future of its exit code.

        Raises:
            NoDataFlowKernelError: when no kernel is loaded.
        """
        return self.kernel.submit(
            self._callable,
            app_args=args,
            executors=self.executors,
            cache=self.cache,
            ignore_for_cache=self.ignore_for_cache,
            app_kwargs=self.with_defaults(args, kwargs),
        )
