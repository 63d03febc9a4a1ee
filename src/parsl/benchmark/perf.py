"""The command `parsl-perf`: how fast a configuration runs tasks that do nothing.

Batches of such tasks grow until one of them takes long enough to be a measurement.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl.doctor.loading import load_config
from parsl.errors import ConfigurationError
from parsl.version import VERSION

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.futures import AppFuture

    Noop = Callable[[], AppFuture[None]]

FIRST_BATCH = 10

# A batch that is sized to take exactly as long as asked for would take a little less every other time.
_MARGIN = 1.1

_ROUND_TRIPS_PER_BATCH = 5
_LATENCY_CALLS = 1000
_LATENCY_SECONDS = 10.0


class Batch(NamedTuple):
    """What was measured of one batch of tasks.

    Attributes:
        tasks: how many.
        submission: seconds until all were submitted.
        runtime: seconds until all were done, submission included.
        round_trip: seconds that one call takes from the call to its result, by itself.
    """

    tasks: int
    submission: float
    runtime: float
    round_trip: float


def noop(*_: object) -> None:
    """Do nothing: what the tasks call."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: its command line without the program's name; None takes this process's own.

    Returns:
        The exit code: 0, or 1 when a task failed, or 2 for a configuration that cannot be used.
    """
    options = parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        measure(config, options)
    except ConfigurationError as e:
        return complain(str(e), 2)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except Exception as e:  # noqa: BLE001 - whatever a task or an executor raises is told in one line
        return complain(f"{type(e).__name__}: {e}", 1)
    return 0


def complain(text: str, code: int) -> int:
    """Write why the command ends to standard error; return the exit code."""
    print(f"parsl-perf: {text}", file=sys.stderr, flush=True)
    return code


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="parsl-perf",
        description="Measure how many tasks a second a configuration runs, with tasks that do nothing.",
        epilog="example: parsl-perf --config my_config.py --time 30 --resources \"{'priority': 1}\"",
    )
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="Python file or module that defines config, or a function fresh_config(); or a TOML or JSON file",
    )
    parser.add_argument(
        "--resources", type=dictionary, default={}, metavar="SPEC", help="parsl_resource_specification of each task"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--time",
        type=positive_seconds,
        default=120.0,
        metavar="SECONDS",
        help="run larger and larger batches until one takes at least this long (default: 120)",
    )
    sizes.add_argument("--iterate", type=batch_sizes, metavar="N,M,...", help="run batches of these sizes instead")
    parser.add_argument("--argsize", type=byte_count, default=0, metavar="BYTES", help="size of each task's argument")
    parser.add_argument("--latency", action="store_true", help="first measure calls one after another: p50 and p99")
    parser.add_argument("--version", action="version", version=f"parsl-perf {VERSION}")
    return parser


# -- options -----------------------------------------------------------------------------------------------------------


def dictionary(text: str) -> dict[str, Any]:
    """Read a dictionary of Python literals."""
    import ast

    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if not isinstance(value, dict):
        msg = f"{text!r} is not a dictionary of plain values, such as \"{{'priority': 1}}\""
        raise argparse.ArgumentTypeError(msg)
    return value


def positive_seconds(text: str) -> float:
    """Read a time."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        msg = f"{text!r} is not a positive number of seconds"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def batch_sizes(text: str) -> list[int]:
    """Read batch sizes, parted by commas."""
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        msg = f"{text!r} is not a list of positive numbers, such as 10,1000"
        raise argparse.ArgumentTypeError(msg)
    return sizes


def byte_count(text: str) -> int:
    """Read a number of bytes, 0 or more."""
    if not (text.isascii() and text.isdigit()):
        msg = f"{text!r} is not a number of bytes"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


# -- measurements ------------------------------------------------------------------------------------------------------


def measure(config: Config, options: argparse.Namespace) -> None:
    """Start a kernel, and measure and print what the options ask for."""
    from parsl.app.python import PythonApp
    from parsl.dataflow.dflow import DataFlowKernel

    kernel = DataFlowKernel(config)
    try:
        app = PythonApp(noop, data_flow_kernel=kernel)
        keywords = {"parsl_resource_specification": options.resources} if options.resources else {}
        argument = (bytes(options.argsize),) if options.argsize else ()

        def call() -> AppFuture[None]:
            return app(*argument, **keywords)

        if options.latency:
            show_latency(call)
        if options.iterate:
            for number, tasks in enumerate(options.iterate, start=1):
                show_batch(call, number, tasks)
        else:
            show_growing_batches(call, options.time)
    finally:
        kernel.cleanup()


def show_growing_batches(call: Noop, target: float) -> None:
    """Run larger and larger batches until one takes the target's time."""
    number, tasks = 1, FIRST_BATCH
    while (batch := show_batch(call, number, tasks, target)).runtime < target:
        number, tasks = number + 1, next_size(batch, target)


def next_size(batch: Batch, target: float) -> int:
    """Return how many tasks take the target's time at the rate of a batch that took less; always more than it had."""
    return max(batch.tasks + 1, math.ceil(batch.tasks / batch.runtime * target * _MARGIN))


def show_batch(call: Noop, number: int, tasks: int, target: float | None = None) -> Batch:
    """Run a batch and print what was measured of it."""
    say(f"==== Iteration {number} ====")
    say(f"Will run {tasks} tasks" + (f" to target {target:g} seconds runtime" if target else ""))
    batch = run_batch(call, tasks)
    say(f"Submission took {batch.submission:.3f} seconds = {tasks / batch.submission:.3f} tasks/second")
    say(f"Runtime: actual {batch.runtime:.3f}s" + (f" vs target {target:g}s" if target else ""))
    say(f"Tasks per second: {tasks / batch.runtime:.3f}")
    say(f"Round trip of one call: {batch.round_trip * 1e3:.3f} ms")
    return batch


def run_batch(call: Noop, tasks: int) -> Batch:
    """Run a batch of tasks, and some calls by themselves after it.

    Raises:
        Exception: whatever a task raised.
    """
    from statistics import median

    futures: deque[AppFuture[None]] = deque()
    started = time.perf_counter()
    for _ in range(tasks):
        futures.append(call())
        # Those that are done go at once, so that memory holds no more than what is on its way.
        while futures and futures[0].done():
            futures.popleft().result()
    submission = time.perf_counter() - started
    while futures:
        futures.popleft().result()
    runtime = time.perf_counter() - started
    return Batch(tasks, submission, runtime, median(timed(call) for _ in range(_ROUND_TRIPS_PER_BATCH)))


def timed(call: Noop) -> float:
    """Return the seconds from a call to its result."""
    started = time.perf_counter()
    call().result()
    return time.perf_counter() - started


def show_latency(call: Noop) -> None:
    """Make calls one after another, and print how long they take."""
    from statistics import quantiles

    call().result()  # the first one waits for workers to start
    times: list[float] = []
    end = time.perf_counter() + _LATENCY_SECONDS
    while len(times) < 2 or (len(times) < _LATENCY_CALLS and time.perf_counter() < end):
        times.append(timed(call))
    percentiles = quantiles(times, n=100, method="inclusive")
    say("==== Latency ====")
    say(f"{len(times)} calls one after another: p50 {percentiles[49] * 1e3:.3f} ms, p99 {percentiles[98] * 1e3:.3f} ms")


def say(text: str) -> None:
    """Print a line at once, for whoever watches."""
    print(text, flush=True)


if __name__ == "__main__":
    # Run under its real name, so that workers find `noop` by that.
    from parsl.benchmark.perf import main as _main

    sys.exit(_main())
