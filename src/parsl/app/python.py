"""Apps that are Python functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parsl.app.base import AppBase
from parsl.app.limits import run_coroutine, timeout

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.dataflow.futures import AppFuture

__all__ = ["PythonApp", "timeout"]


class PythonApp(AppBase):
    """An app whose function is run by a worker, or by this process when it is a join app.

    Args:
        func: the user's function; may be `async def`.
        data_flow_kernel: the kernel that runs it; None takes the loaded one at each call.
        cache: remember results for equal calls.
        executors: labels of the executors that may run it, or 'all'.
        ignore_for_cache: names of parameters that don't make calls differ.
        join: the function returns a future or a list of futures, whose results become the result.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        data_flow_kernel: DataFlowKernel | None = None,
        cache: bool = False,
        executors: str | Sequence[str] = "all",
        ignore_for_cache: Sequence[str] | None = None,
        join: bool = False,
    ) -> None:
        super().__init__(
            func, data_flow_kernel=data_flow_kernel, executors=executors, cache=cache, ignore_for_cache=ignore_for_cache
        )
        self.join = join
        self._callable = run_coroutine(self.travelling) if inspect.iscoroutinefunction(func) else self.travelling
        # One wrapped function for each walltime, so that a worker is sent each of them once.
        self._timed: dict[float, Callable[..., Any]] = {}

    def __call__(self, /, *args: Any, **kwargs: Any) -> AppFuture[Any]:
        """Have a kernel run the function.

        Returns:
            The future of its result.

        Raises:
            NoDataFlowKernelError: when no kernel is loaded.
        """
        kernel = self.kernel
        kwargs = self.with_defaults(args, kwargs)
        func = self._callable
        if "walltime" in kwargs:
            if kwargs["walltime"] is not None:
                func = self._with_walltime(kwargs["walltime"])
            if not self.accepts("walltime"):
                del kwargs["walltime"]
        return kernel.submit(
            func,
            app_args=args,
            executors=self.executors,
            cache=self.cache,
            ignore_for_cache=self.ignore_for_cache,
            app_kwargs=kwargs,
            join=self.join,
        )

    def _with_walltime(self, seconds: float) -> Callable[..., Any]:
        timed = self._timed.get(seconds)
        if timed is None:
            timed = self._timed[seconds] = timeout(self._callable, seconds)
        return timed
