"""The command line of `parsl-doctor`."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Sequence
from typing import IO

from parsl.doctor.examination import examine
from parsl.doctor.loading import load_config
from parsl.doctor.probe import HostProbe, Probe
from parsl.doctor.report import Report
from parsl.doctor.trial import run_trial
from parsl.errors import ConfigurationError
from parsl.version import VERSION

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, probe: Probe | None = None) -> int:
    """Run the command.

    Args:
        arguments: Its command line without the program's name; None takes this process's own.
        probe: What checks ask; None for this host.

    Returns:
        The exit code: 0, or 1 when a check failed, or 2 for a configuration that cannot be loaded.
    """
    options = parser().parse_args(arguments)
    colour = wants_colour(sys.stdout, os.environ)
    report = Report(None if options.json else sys.stdout, colour=colour, width=width_of(sys.stdout))
    try:
        config = load_config(options.config)
        sound = examine(config, probe or HostProbe(), report)
        if not options.dry_run:
            run_trial(config, sound, options.timeout, report)
    except ConfigurationError as error:
        print(f"parsl-doctor: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("parsl-doctor: interrupted; blocks are given back", file=sys.stderr)
        return 130
    report.close()
    if options.json:
        print(report.as_json(options.config))
    return report.exit_code


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="parsl-doctor",
        description="Look at a configuration step by step, run one task on each executor, say what is wrong and how "
        "to mend it.",
        epilog="example: parsl-doctor --dry-run my_config.py",
    )
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="Python file or module that defines config or a function fresh_config(), FILE:NAME for another name; or a "
        "TOML or JSON file",
    )
    parser.add_argument("--dry-run", action="store_true", help="only look: ask for no block, run no task")
    parser.add_argument(
        "--timeout",
        type=_positive,
        default=300.0,
        metavar="SECONDS",
        help="how long a task may take, waiting in the queue included (default: 300)",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON document instead of lines")
    parser.add_argument("--version", action="version", version=f"parsl-doctor {VERSION}")
    return parser


def wants_colour(out: IO[str], environment: dict[str, str] | os._Environ[str]) -> bool:
    """Tell whether colours are welcome: on a terminal that knows them, unless the user said NO_COLOR."""
    return out.isatty() and environment.get("TERM") != "dumb" and not environment.get("NO_COLOR")


def width_of(out: IO[str]) -> int:
    """Return how long lines may be: at most 100 characters, and no more than a terminal shows."""
    return min(100, shutil.get_terminal_size((100, 24)).columns) if out.isatty() else 100


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        msg = f"{text!r} is not a positive number of seconds"
        raise argparse.ArgumentTypeError(msg)
    return seconds
