"""Live progress bars, one for each app: counts kept on the kernel's loop, drawn by rich on a thread of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from parsl.dataflow.notebook_bars import CellBars, in_notebook
from parsl.dataflow.states import FINAL_FAILURE_STATES, FINAL_STATES, States
from parsl.errors import OptionalModuleMissing

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import TaskRecord
    from parsl.loop import Loop

NEEDS_RICH = "Progress bars are drawn by it: pip install 'parsl[progress]'"

# Of more apps than this, those that have most to do have a bar, and the others share one.
MOST_BARS = 12

# Times a second that the bars are drawn.
FRAMES = 4.0

_OTHERS = "other apps"


class Watched(Protocol):
    """What progress needs of a kernel."""

    loop: Loop
    tasks: dict[int, TaskRecord]

    def watch(self, watcher: Callable[[TaskRecord, States], object]) -> None:
        """Have a watcher told of each change of state, on the loop."""

    def unwatch(self, watcher: Callable[[TaskRecord, States], object]) -> None:
        """Tell a watcher nothing more."""


class Counts:
    """How many tasks of an app have been seen, and have ended.

    Attributes:
        seen: tasks that were there when the watch began, or have come since.
        ended: those of them that have ended, `failed` badly.
        launched: those that an executor has.
    """

    __slots__ = ("ended", "failed", "launched", "seen")

    def __init__(self) -> None:
        self.seen = self.ended = self.failed = self.launched = 0


class Tally:
    """Counts tasks by app. A plain object: told on the loop, read from anywhere."""

    def __init__(self, tasks: Iterable[TaskRecord] = ()) -> None:
        self.apps: dict[str, Counts] = {}
        for task in tasks:
            if task.status not in FINAL_STATES and task.status is not States.unsched:
                counts = self._of(task.func_name)
                counts.seen += 1
                counts.launched += task.status is States.launched

    def moved(self, task: TaskRecord, old: States) -> None:
        """Take note of a change of state."""
        state = task.status
        counts = self.apps.get(task.func_name) or self._of(task.func_name)
        if old is States.unsched:
            counts.seen += 1
        elif old is States.launched:
            counts.launched -= 1
        if state is States.launched:
            counts.launched += 1
        elif state in FINAL_STATES:
            counts.ended += 1
            if state in FINAL_FAILURE_STATES:
                counts.failed += 1

    def _of(self, app: str) -> Counts:
        # A dictionary that a drawing thread copies meanwhile: one call makes the entry.
        return self.apps.setdefault(app, Counts())

    def shown(self, most: int = MOST_BARS) -> list[tuple[str, Counts]]:
        """Return the apps to be shown, in the order of their coming; those with least to do are counted together."""
        apps = list(self.apps.items())
        if len(apps) <= most:
            return apps
        chosen = {name for name, _ in sorted(apps, key=lambda entry: -entry[1].seen)[: most - 1]}
        others = Counts()
        for name, counts in apps:
            if name not in chosen:
                for slot in Counts.__slots__:
                    setattr(others, slot, getattr(others, slot) + getattr(counts, slot))
        return [*((name, counts) for name, counts in apps if name in chosen), (_OTHERS, others)]


class Rate:
    """How many tasks end in a second, over the last ten seconds or so."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=int(10 * FRAMES))

    def at(self, now: float, ended: int) -> float:
        """Return the rate, from how many tasks have ended by now."""
        self._seen.append((now, ended))
        then, before = self._seen[0]
        return (ended - before) / (now - then) if now > then else 0.0


def is_watched_by_somebody() -> bool:
    """Tell whether standard error is a terminal, or this is a notebook: nothing is shown elsewhere."""
    if in_notebook():
        return True
    return sys.stderr is not None and sys.stderr.isatty()


class ProgressBars:
    """Bars of a kernel's apps, from `start` to `stop`.

    Args:
        kernel: the kernel.
        console: rich's console to draw on; None for standard error, or the cell of a notebook.

    Raises:
        OptionalModuleMissing: when rich is not installed.
    """

    def __init__(self, kernel: Watched, console: Any = None) -> None:
        try:
            import rich.console
        except ImportError as e:
            raise OptionalModuleMissing(["rich"], NEEDS_RICH) from e
        self._kernel = kernel
        # In a notebook without a console of the caller's own, the cell is where it is drawn.
        self._in_cell = console is None and in_notebook()
        self._console = console or rich.console.Console(stderr=True)
        self._tally: Tally | None = None
        self._live: Any = None
        self._bars: Any = None
        self._numbers: dict[str, Any] = {}
        self._rates: dict[str, Rate] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to count and to draw."""
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[more]}", style="red", markup=False),
            auto_refresh=False,
        )
        self._kernel.loop.call(self._begin)
        if self._in_cell:
            self._live = CellBars(self._drawn, 1 / FRAMES)
            self._live.start()
            return
        self._live = Live(
            get_renderable=self._drawn,
            console=self._console,
            refresh_per_second=FRAMES,
            # What the script prints goes above the bars, if it goes to the same screen; a file or pipe keeps it.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()

    def stop(self) -> None:
        """Draw a last time, and leave the bars as they are; once."""
        live, self._live = self._live, None
        if live is None:
            return
        if self._tally is not None:
            self._kernel.unwatch(self._tally.moved)
        live.stop()

    def _begin(self) -> None:
        # One call of C code: submitting threads add to the mapping meanwhile.
        self._tally = Tally(list(self._kernel.tasks.values()))
        self._kernel.watch(self._tally.moved)

    def _drawn(self) -> Any:
        """Return the bars as they are now; on rich's thread, and at the end on that of `stop`."""
        assert self._tally is not None
        with self._lock:
            for app, counts in self._tally.shown():
                if app not in self._numbers:
                    self._rates[app] = Rate()
                    self._numbers[app] = self._bars.add_task(app, total=counts.seen, rate="", more="")
                rate = self._rates[app].at(time.monotonic(), counts.ended)
                self._bars.update(
                    self._numbers[app],
                    completed=counts.ended,
                    total=counts.seen,
                    rate=f"{rate:.1f}/s" if rate < 100 else f"{rate:.0f}/s",
                    more=f"{counts.failed} failed" if counts.failed else "",
                )
        return self._bars
