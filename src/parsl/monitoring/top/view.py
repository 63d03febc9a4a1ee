"""The terminal view of a run, built on textual. Loaded only when it is wanted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, ProgressBar, Static

from parsl.dataflow.states import States
from parsl.monitoring.top import snapshot
from parsl.monitoring.top.snapshot import Snapshot, Wish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsl.monitoring.queries.runs import RunQueries

# What the key for states goes through; None for all.
_STATES: tuple[States | None, ...] = (
    None,
    States.pending,
    States.launched,
    States.joining,
    States.failed,
    States.dep_fail,
    States.exec_done,
    States.memo_done,
)


class Details(ModalScreen[None]):
    """All about one task.

    Args:
        text: what there is to say.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss_it", "Back")]
    CSS = "Details VerticalScroll { margin: 2 6; padding: 1 2; background: $surface; border: round $primary; }"

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Make the screen."""
        with VerticalScroll():
            yield Static(self._text, markup=False, id="details")
        yield Footer()

    def action_dismiss_it(self) -> None:
        """Go back to the run."""
        self.dismiss()


class TopApp(App[None]):
    """A run, read again every few seconds.

    Args:
        queries: the database.
        run_id: the run.
        interval: seconds between two looks.
    """

    TITLE = "parsl-top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #headline { height: auto; padding: 0 1; }
    #trouble { height: auto; padding: 0 1; color: $error; }
    #bar { padding: 0 1; }
    #bar Bar { width: 1fr; }
    #upper { height: 30%; min-height: 6; }
    #apps { width: 3fr; }
    #blocks { width: 2fr; }
    #wish { height: 1; padding: 0 1; background: $panel; }
    #tasks { height: 1fr; }
    #filter { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("r", "look", "Refresh"),
        Binding("s", "next_state", "State"),
        Binding("t", "slowest", "Slowest"),
        Binding("f", "failed", "Failed"),
        Binding("slash", "filter", "App", key_display="/"),
        Binding("n", "page(1)", "Next page"),
        Binding("p", "page(-1)", "Page before"),
    ]

    def __init__(self, queries: RunQueries, run_id: str, interval: float) -> None:
        super().__init__()
        self._queries = queries
        self._run_id = run_id
        self._interval = interval
        self._wish = Wish()
        self._pages: list[int] = []
        self._now: Snapshot | None = None

    def compose(self) -> ComposeResult:
        """Make the screen."""
        yield Static("", id="headline", markup=False)
        yield ProgressBar(id="bar", show_eta=False)
        yield Static("", id="trouble", markup=False)
        with Horizontal(id="upper"):
            yield DataTable(id="apps", cursor_type="none", zebra_stripes=True)
            yield DataTable(id="blocks", cursor_type="none", zebra_stripes=True)
        yield Static("", id="wish", markup=False)
        yield Input(placeholder="name of an app; empty for all", id="filter")
        yield DataTable(id="tasks", cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        for name, columns in (
            ("apps", snapshot.APP_COLUMNS),
            ("blocks", snapshot.BLOCK_COLUMNS),
            ("tasks", snapshot.TASK_COLUMNS),
        ):
            self._table(name).add_columns(*columns)
        self._table("tasks").focus()
        self.set_interval(self._interval, self.action_look)
        self.action_look()

    # -- looking -------------------------------------------------------------------------------------------------

    def action_look(self) -> None:
        """Read the database, on a thread: it may be slow."""
        self.run_worker(self._look, thread=True, group="look", exclusive=True)

    def _look(self) -> None:
        wish = self._wish
        try:
            now = snapshot.take(self._queries, self._run_id, wish)
        except Exception as e:  # noqa: BLE001 - of whichever driver; the next look may do better
            self._on_screen(self._show_trouble, f"The database cannot be read now: {e}")
            return
        self._on_screen(self._show, now, wish)

    def _on_screen(self, function: Any, *args: Any) -> None:
        # The app may have ended while the database was read.
        with contextlib.suppress(RuntimeError):
            self.call_from_thread(function, *args)

    def _show_trouble(self, text: str) -> None:
        self.query_one("#trouble", Static).update(text)

    def _show(self, now: Snapshot, wish: Wish) -> None:
        if wish != self._wish:
            return  # another page is wanted by now, and on its way
        before, self._now = self._now, now
        self.query_one("#headline", Static).update("\n".join(snapshot.headline(now, before)))
        self.query_one("#bar", ProgressBar).update(total=max(1, now.submitted), progress=now.ended)
        self._show_trouble("")
        self._fill("apps", snapshot.app_rows(now))
        self._fill("blocks", snapshot.block_rows(now))
        self._fill("tasks", [snapshot.task_row(task, now.at) for task in now.tasks])
        self.query_one("#wish", Static).update(_words(wish, len(self._pages)))

    def _fill(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        table = self._table(name)
        at, offset = table.cursor_row, table.scroll_offset
        table.clear()
        # As they are: a name in brackets is no markup.
        from rich.text import Text

        table.add_rows([[Text(cell) for cell in row] for row in rows])
        if rows and name == "tasks":
            table.move_cursor(row=min(at, len(rows) - 1), animate=False, scroll=False)
        table.scroll_to(offset.x, offset.y, animate=False)

    def _table(self, name: str) -> DataTable[Any]:
        return self.query_one(f"#{name}", DataTable)

    # -- wishes --------------------------------------------------------------------------------------------------

    def _want(self, wish: Wish) -> None:
        self._wish = wish
        self._pages = []
        self._table("tasks").move_cursor(row=0, animate=False)
        self.action_look()

    def action_next_state(self) -> None:
        """Show only tasks of the next state."""
        at = _STATES.index(self._wish.state)
        self._want(self._wish._replace(slowest=False, state=_STATES[(at + 1) % len(_STATES)], after=-1))

    def action_failed(self) -> None:
        """Show the failed tasks, or all again."""
        state = None if self._wish.state is States.failed else States.failed
        self._want(self._wish._replace(slowest=False, state=state, after=-1))

    def action_slowest(self) -> None:
        """Show the tasks that ran longest, or all again."""
        self._want(Wish(slowest=not self._wish.slowest))

    def action_page(self, step: int) -> None:
        """Go to the next page of tasks, or back to the one before."""
        tasks = self._now.tasks if self._now is not None else ()
        if self._wish.slowest:
            return
        if step > 0 and len(tasks) == snapshot.PAGE:
            self._pages.append(self._wish.after)
            self._wish = self._wish._replace(after=tasks[-1].task)
        elif step < 0 and self._pages:
            self._wish = self._wish._replace(after=self._pages.pop())
        else:
            return
        self._table("tasks").move_cursor(row=0, animate=False)
        self.action_look()

    def action_filter(self) -> None:
        """Ask for the name of an app."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show only tasks of this app."""
        event.input.display = False
        self._table("tasks").focus()
        self._want(self._wish._replace(slowest=False, app=event.value.strip() or None, after=-1))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show all about the task of a row."""
        if self._now is not None and event.cursor_row < len(self._now.tasks):
            task = self._now.tasks[event.cursor_row].task
            self.run_worker(lambda: self._read_details(task), thread=True, group="details", exclusive=True)

    def _read_details(self, task: int) -> None:
        assert self._now is not None
        try:
            text = snapshot.details(self._queries, self._now.run.run, task)
        except Exception as e:  # noqa: BLE001 - of whichever driver
            text = f"The database cannot be read now: {e}"
        self._on_screen(self.push_screen, Details(text))


def _words(wish: Wish, pages: int) -> str:
    """Say which tasks are shown."""
    if wish.slowest:
        return "Tasks that ran longest"
    words = ["Tasks" if wish.state is None else f"Tasks that are {wish.state.name}"]
    if wish.app is not None:
        words.append(f"of app {wish.app}")
    return f"{' '.join(words)}, page {pages + 1}"
