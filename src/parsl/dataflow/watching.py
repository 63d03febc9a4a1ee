"""The kernel's part in progress: who is told of changes of state, and the bars of `Config(progress=True)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.progress import ProgressBars
    from parsl.dataflow.states import States
    from parsl.dataflow.taskrecord import TaskRecord

    Watcher = Callable[[TaskRecord, States], object]


class Watching:
    """Watchers of changes of state; nearly always there are none."""

    _config: Config
    _on_loop: Callable[..., None]
    _watchers: tuple[Watcher, ...] = ()
    _bars: ProgressBars | None = None

    def watch(self, watcher: Watcher) -> None:
        """Have a watcher told of each change of state: the task, and the state that it had; on the loop.

        What a watcher does there keeps all tasks waiting, and what it raises ends the kernel's turn: it is to count,
        and no more.
        """
        self._watchers = (*self._watchers, watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell a watcher nothing more."""
        self._watchers = tuple(w for w in self._watchers if w != watcher)

    def _start_progress(self) -> None:
        if self._config.progress:
            from parsl.dataflow.progress import ProgressBars, is_watched_by_somebody

            if is_watched_by_somebody():
                kernel: Any = self
                self._bars = ProgressBars(kernel)
                self._bars.start()

    def _end_progress(self) -> None:
        bars, self._bars = self._bars, None
        if bars is not None:
            bars.stop()
