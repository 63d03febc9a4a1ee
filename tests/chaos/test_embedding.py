"""Kernels inside other programs: made and closed many times, several at once, from threads, under asyncio, forked."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time

import psutil
import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.threads import ThreadPoolExecutor
from tests.chaos.report import chaos_report
from tests.live import pilot


def threads_kernel(folder):
    config = Config(executors=[ThreadPoolExecutor(max_threads=2)], run_dir=str(folder), initialize_logging=False)
    return DataFlowKernel(config)


def htex_kernel(folder):
    return pilot.kernel(folder, initialize_logging=False)


def use(kernel):
    with kernel:
        app = python_app(divmod, data_flow_kernel=kernel)
        assert [f.result(pilot.SOON) for f in [app(i, 7) for i in range(20)]] == [divmod(i, 7) for i in range(20)]


class Usage:
    """What this process holds."""

    def __init__(self):
        gc.collect()
        process = psutil.Process()
        self.threads = threading.active_count()
        self.descriptors = process.num_fds()
        self.children = len(process.children(recursive=True))
        self.memory = process.memory_info().rss
        self.sockets = len(process.net_connections("all"))

    def assert_no_more_than(self, before, bytes_more):
        for what in ("threads", "descriptors", "children", "sockets"):
            assert getattr(self, what) <= getattr(before, what), what
        assert self.memory - before.memory < bytes_more


def handlers():
    return {n: signal.getsignal(n) for n in signal.valid_signals()}


@pytest.mark.parametrize(
    ("make", "times"),
    [
        pytest.param(threads_kernel, 200, id="threads"),
        pytest.param(htex_kernel, 20, id="htex", marks=pytest.mark.slow),
    ],
)
def test_many_kernels_one_after_another_leave_nothing(tmp_path, make, times):
    own = handlers()
    # What is loaded and pooled once.
    for _ in range(3):
        use(make(tmp_path))
    before, began = Usage(), time.monotonic()
    for _ in range(times):
        use(make(tmp_path))
    Usage().assert_no_more_than(before, 15_000_000)
    assert handlers() == own
    each = (time.monotonic() - began) / times
    name = make.__name__.removesuffix("_kernel")
    chaos_report(f"{times} kernels ({name}) in one process", "no growth; each takes", each)


def test_a_running_kernel_takes_no_signal_handler(tmp_path):
    own = handlers()
    with htex_kernel(tmp_path):
        assert handlers() == own
    assert handlers() == own


@pytest.mark.parametrize("make", [threads_kernel, htex_kernel])
def test_several_at_once_from_threads(tmp_path, make):
    problems = []

    def work(number):
        try:
            use(make(tmp_path / str(number)))
        except BaseException as e:  # for the main thread
            problems.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_under_asyncio(tmp_path):
    async def main():
        with threads_kernel(tmp_path) as kernel:
            app = python_app(divmod, data_flow_kernel=kernel)
            ticks = 0

            async def tick():
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            results = await asyncio.gather(*(asyncio.wrap_future(app(i, 7)) for i in range(100)))
            ticking.cancel()
            return results, ticks

    results, ticks = asyncio.run(main())
    assert results == [divmod(i, 7) for i in range(100)]
    assert ticks, "the loop of the host went on meanwhile"


@pytest.mark.parametrize("make", [threads_kernel, htex_kernel])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_child(tmp_path, make):
    with make(tmp_path / "parent") as kernel:
        app = python_app(divmod, data_flow_kernel=kernel)
        assert app(9, 7).result(pilot.SOON) == (1, 2)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                use(make(tmp_path / "child"))
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        # The parent's is as it was.
        assert [f.result(pilot.SOON) for f in [app(i, 7) for i in range(20)]] == [divmod(i, 7) for i in range(20)]
