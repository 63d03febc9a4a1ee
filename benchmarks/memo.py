"""How fast remembered calls are answered, and results saved and found: `python benchmarks/memo.py`.

    calls       one after another, and in a burst: one that is remembered, and one that HTEX runs and that does nothing
    chain       links of a chain of remembered calls, each waiting for the one before
    task_exit   results a second that are on disk before their futures are told
    open        the time to open a checkpoint, and to look a result up, by number of entries

Everything happens in a temporary folder; `--folder` chooses the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from parsl.app.python import PythonApp
from parsl.config import Config
from parsl.dataflow.checkpoints import CheckpointWriter, open_checkpoints, pack
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.executors.threads import ThreadPoolExecutor

GROUP = 10_000
LOOKUPS = 10_000


def nothing(x: Any) -> Any:
    """Do nothing."""
    return x


def main() -> None:
    """Measure all of it and print each figure as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, metavar="N", help="how many calls of each kind")
    parser.add_argument("--entries", type=int, default=1_000_000, metavar="N", help="how many entries to open")
    parser.add_argument("--folder", help="where to put files; the system's temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure_calls(folder, options.calls)
        measure_saving(folder, options.calls)
        measure_opening(folder, options.entries)


@contextmanager
def kernel(folder: str, executor: Any, **options: Any) -> Iterator[DataFlowKernel]:
    """Run a kernel."""
    config = Config(executors=[executor], run_dir=os.path.join(folder, "runs"), strategy="none", **options)
    dfk = DataFlowKernel(config)
    try:
        yield dfk
    finally:
        dfk.cleanup()


def measure_calls(folder: str, calls: int) -> None:
    """Compare remembered calls with calls that HTEX runs, in one kernel."""
    executor = HighThroughputExecutor(max_workers_per_node=2, cores_per_worker=0.01)
    with kernel(folder, executor) as dfk:
        run = PythonApp(nothing, data_flow_kernel=dfk)
        remembered = PythonApp(nothing, data_flow_kernel=dfk, cache=True)
        for app in (run, remembered):
            app(1).result()
        figures = [
            (f"{what}, {how}", rate(measure, app, calls))
            for how, measure in {"one after another": one_by_one, "in a burst": burst}.items()
            for what, app in {"HTEX no-op": run, "remembered": remembered}.items()
        ]
        for name, (figure, cost) in figures:
            print(f"{name:34} {figure:10,.0f} calls/s, {cost * 1e6:.0f} us of CPU here for each")
        for how, (_, (slow, _)), (_, (fast, _)) in (("one after another", *figures[:2]), ("in a burst", *figures[2:])):
            print(f"{'remembered : HTEX, ' + how:34} {fast / slow:10.1f} times")
        print(f"{'chain of 100,000 remembered links':34} {100_000 / chain(remembered, 100_000):10,.0f} links/s")


def rate(measure: Callable[[Any, int], None], app: Any, calls: int) -> tuple[float, float]:
    """Return calls a second, and the CPU seconds of this process for each."""
    begin, cpu = time.perf_counter(), time.process_time()
    measure(app, calls)
    return calls / (time.perf_counter() - begin), (time.process_time() - cpu) / calls


def one_by_one(app: Any, calls: int) -> None:
    """Make each call when the one before has ended."""
    for _ in range(calls):
        app(1).result()


def burst(app: Any, calls: int) -> None:
    """Make all calls, then wait."""
    for future in [app(1) for _ in range(calls)]:
        future.result()


def chain(app: Any, links: int) -> float:
    """Return the seconds that a chain takes from the end of its first link."""
    start: Future[int] = Future()
    link: Any = start
    for _ in range(links):
        link = app(link)
    begin = time.perf_counter()
    start.set_result(1)
    link.result()
    return time.perf_counter() - begin


def measure_saving(folder: str, calls: int) -> None:
    """Measure how fast tasks on threads end, without and with a checkpoint in mode task_exit."""
    for name, mode in {"tasks on threads, not saved": None, "tasks on threads, task_exit": "task_exit"}.items():
        memoizer = BasicMemoizer(checkpoint_mode=mode, checkpoint_files=[])  # type: ignore[arg-type]  # it is one of them
        with kernel(folder, ThreadPoolExecutor(max_threads=2), memoizer=memoizer) as dfk:
            app = PythonApp(nothing, data_flow_kernel=dfk, cache=True)
            begin = time.perf_counter()
            for future in [app(n) for n in range(calls)]:
                future.result()
            print(f"{name:34} {calls / (time.perf_counter() - begin):10,.0f} tasks/s")


def measure_opening(folder: str, entries: int) -> None:
    """Write a large checkpoint, open it and look results up."""
    path = os.path.join(folder, "large")
    hashes = [hashlib.md5(b"%d" % n, usedforsecurity=False).hexdigest() for n in range(entries)]
    writer = CheckpointWriter(path)
    begin = time.perf_counter()
    for start in range(0, entries, GROUP):
        writer.append([(h, pack(h, n)) for n, h in enumerate(hashes[start : start + GROUP], start)])
    print(f"{f'appended in groups of {GROUP:,}':34} {entries / (time.perf_counter() - begin):10,.0f} results/s")
    writer.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, cpu = time.perf_counter(), time.process_time()
    known = open_checkpoints([path])
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(f"{f'opened {entries:,} entries in':34} {took:10.3f} s, {cpu:.3f} s of CPU")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{'memory of the opened index':34} {grown:10.0f} MB")
    sample = random.sample(range(entries), min(LOOKUPS, entries))
    begin = time.perf_counter()
    for n in sample:
        record = known.record(hashes[n])
        if record is None or record["result"] != n:
            message = f"entry {n} was not found"
            raise SystemExit(message)
    print(f"{'looked up':34} {(time.perf_counter() - begin) / len(sample) * 1e6:10.1f} us a result")
    known.close()


if __name__ == "__main__":
    main()
