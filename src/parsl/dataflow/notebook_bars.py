"""Progress bars in the cell of a notebook: one output that is shown once and then brought up to date by its name.

Not by rich's own way for notebooks, which takes what the user's program prints meanwhile into the widget that it draws
in, and clears it with the bars; and which needs ipywidgets.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from typing import Any

# Columns of text that a bar may take: a cell is about that wide.
WIDTH = 100

_CELL = '<pre style="white-space:pre;overflow-x:auto;line-height:normal;margin:0">{code}</pre>'


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class CellBars:
    """Shows something that is drawn by rich in the cell that runs now, from `start` to `stop`.

    Args:
        drawn: returns what is to be shown, by now; called on a thread of this.
        seconds: from one drawing to the next.
    """

    def __init__(self, drawn: Callable[[], Any], seconds: float) -> None:
        self._drawn = drawn
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._redraw, name="progress", daemon=True)
        self._cell: Any = None
        self._shown: dict[str, str] = {}

    def start(self) -> None:
        """Show it for the first time, and then again and again."""
        import IPython.display

        display: Any = IPython.display.display
        self._shown = self._rendered()
        self._cell = display(self._shown, raw=True, display_id=True)
        self._thread.start()

    def stop(self) -> None:
        """Show it for the last time, and leave it there."""
        self._ended.set()
        self._thread.join()
        self._update()

    def _redraw(self) -> None:
        while not self._ended.wait(self._seconds):
            self._update()

    def _update(self) -> None:
        rendered = self._rendered()
        if rendered != self._shown:
            self._shown = rendered
            self._cell.update(rendered, raw=True)

    def _rendered(self) -> dict[str, str]:
        from rich.console import Console

        console = Console(
            file=io.StringIO(),
            record=True,
            width=WIDTH,
            force_terminal=True,
            force_jupyter=False,
            color_system="truecolor",
        )
        console.print(self._drawn())
        html = console.export_html(inline_styles=True, code_format=_CELL, clear=False)
        return {"text/html": html, "text/plain": console.export_text().rstrip()}
