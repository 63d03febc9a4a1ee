"""Progress of the loaded kernel where somebody looks: `with progress_bars(): ...`."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.dataflow.progress import ProgressBars, is_watched_by_somebody

if TYPE_CHECKING:
    from typing_extensions import Self

    from parsl.dataflow.dflow import DataFlowKernel

__all__ = ["progress_bars"]


class progress_bars:  # noqa: N801 - used as a function is, in a with statement
    """Live bars of a kernel's apps while a block runs: how many of their tasks have ended, and how fast.

    Tasks count that have not ended when the block begins, or come while it runs. Nothing is shown, nothing is counted
    and nothing needs to be installed where standard error is no terminal and there is no notebook.

    Args:
        dfk: the kernel; None for the loaded one.
        console: a `rich.console.Console` to draw on, also when it is no terminal; None for standard error.

    Raises:
        NoDataFlowKernelError: at the beginning of the block, when no kernel is loaded.
        OptionalModuleMissing: then, when there is somebody to see the bars and rich is not installed.
    """

    def __init__(self, dfk: DataFlowKernel | None = None, console: Any = None) -> None:
        self._dfk = dfk
        self._console = console
        self._bars: ProgressBars | None = None

    def __enter__(self) -> Self:
        kernel = self._dfk or DataFlowKernelLoader.dfk()
        if self._console is not None or is_watched_by_somebody():
            self._bars = ProgressBars(kernel, self._console)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        bars, self._bars = self._bars, None
        if bars is not None:
            bars.stop()
