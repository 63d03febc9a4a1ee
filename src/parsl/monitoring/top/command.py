"""The command `parsl-top`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import TYPE_CHECKING

from parsl.errors import OptionalModuleMissing
from parsl.monitoring.queries.opening import WHAT_TARGETS_ARE, open_run
from parsl.monitoring.top.snapshot import Wish, as_text, take

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDS_TEXTUAL = "The terminal view is built on it: pip install 'parsl[top]', or use parsl-top --once"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="parsl-top", description="Watch a run with monitoring in a terminal: progress, rates, blocks, tasks."
    )
    parser.add_argument("target", nargs="?", default="runinfo", help=f"{WHAT_TARGETS_ARE}; runinfo if it is left out")
    parser.add_argument("--run", metavar="ID", help="the run's unique name, or how it begins; else the newest is shown")
    parser.add_argument("--interval", type=_seconds, default=2.0, help="seconds between two looks (2)")
    parser.add_argument("--once", action="store_true", help="print what there is as text, and end")
    return parser.parse_args(arguments)


def _check_for_textual() -> None:
    if importlib.util.find_spec("textual") is None:
        raise OptionalModuleMissing(["textual"], NEEDS_TEXTUAL)


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 0.1:
        raise argparse.ArgumentTypeError("it must be at least 0.1")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Show a run until the user has seen enough; as text, once, where standard output is no terminal."""
    options = parse(arguments)
    once = options.once or not sys.stdout.isatty()
    try:
        if not once:
            _check_for_textual()
        queries, run = open_run(options.target, options.run)
    except (ValueError, OptionalModuleMissing) as e:
        sys.exit(f"parsl-top: {e}")
    with queries:
        if once:
            print(as_text(take(queries, run.run_id, Wish())))
            return
        from parsl.monitoring.top.view import TopApp

        TopApp(queries, run.run_id, options.interval).run()
