"""How long it takes to cancel many calls that wait: `python benchmarks/cancel.py [CALLS]`.

Two workers are kept busy while calls queue behind them; then each is cancelled, one after another, as a user would.
Printed is the time until the last `cancel()` has returned, until the last task is settled, and until the interchange
has forgotten all; and the processor's time that this process took, which others on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

from parsl import Config, DataFlowKernel, python_app
from parsl.executors import HighThroughputExecutor


def nothing() -> None:
    """Stand for work."""


def busy() -> None:
    """Keep a worker from other work until it is stopped."""
    time.sleep(1000)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=100_000)
    calls = parser.parse_args().calls
    executor = HighThroughputExecutor(label="htex", max_workers_per_node=2, cores_per_worker=0.1, address="127.0.0.1")
    config = Config(executors=[executor], strategy="none", run_dir=tempfile.mkdtemp())
    with DataFlowKernel(config) as kernel:
        holding = [python_app(busy, data_flow_kernel=kernel)() for _ in range(2)]
        app = python_app(nothing, data_flow_kernel=kernel)
        futures = [app() for _ in range(calls)]
        until(lambda: executor.outstanding() == calls + 2)
        kernel.loop.call(int)
        begin, used = time.perf_counter(), time.process_time()
        for future in futures:
            future.cancel()
        said = time.perf_counter() - begin
        until(lambda: len(kernel.tasks) == 2)
        settled = time.perf_counter() - begin
        used = time.process_time() - used
        until(lambda: executor.outstanding() == 2)
        everywhere = time.perf_counter() - begin
        for future in holding:
            future.cancel()
    print(f"{calls} waiting calls: cancel() of all {said:.2f} s, settled {settled:.2f} s, forgotten {everywhere:.2f} s")
    print(f"processor's time until settled: {used:.2f} s")


def until(condition: Any) -> None:
    """Wait for something of which nobody tells."""
    while not condition():
        time.sleep(0.001)


if __name__ == "__main__":
    main()
