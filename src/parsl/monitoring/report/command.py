"""The command `parsl-report`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from parsl.errors import OptionalModuleMissing
from parsl.monitoring.queries.opening import WHAT_TARGETS_ARE, open_run
from parsl.monitoring.report.document import render

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="parsl-report",
        description="Write a run with monitoring as one HTML file that needs nothing else, to keep beside a paper.",
    )
    parser.add_argument("target", nargs="?", default="runinfo", help=f"{WHAT_TARGETS_ARE}; runinfo if it is left out")
    parser.add_argument("--run", metavar="ID", help="the run's unique name, or how it begins; else the newest is taken")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the file, '-' for standard output; parsl-report-<run>.html if left out"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of a run, and say where."""
    options = parse(arguments)
    try:
        queries, run = open_run(options.target, options.run)
        with queries:
            text = render(queries, run, options.target if os.path.isdir(options.target) else None)
        if options.output == "-":
            sys.stdout.write(text)
            return
        path = options.output or f"parsl-report-{run.run_id[:8]}.html"
        # Whole or not at all: a report of an earlier run is not to be lost to a full disk.
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.part", path)
    except (ValueError, OSError, OptionalModuleMissing) as e:
        sys.exit(f"parsl-report: {e}")
    print(f"{path}: {run.workflow_name or 'run'} {run.run_id}, {len(text) / 1000:.0f} kB")
