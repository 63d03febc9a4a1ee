"""Mixed work while one thing after another breaks: at the end each task has ended once, with the right result."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import CancelledError, wait

import psutil
import pytest

from parsl.app.app import bash_app, python_app
from parsl.app.errors import BashExitFailure
from parsl.executors.high_throughput.errors import PoisonTask, WorkerLost
from tests.chaos.report import chaos_report
from tests.live import pilot

MB = 1024 * 1024

# Less than what makes an executor give up its interchange.
MOST_INTERCHANGES_A_MINUTE = 4


def mirror(data):
    return data[::-1]


def fail(number):
    raise ValueError(number)


def end_worker():
    os._exit(9)


class Breaker(threading.Thread):
    """Breaks something of an executor every few seconds.

    Args:
        executor: the executor.
        rng: decides what is next, and when.
    """

    def __init__(self, executor, rng):
        super().__init__(name="breaker")
        self.executor = executor
        self.rng = rng
        self.done = threading.Event()
        self.broken: Counter[str] = Counter()
        self.problems: list[Exception] = []
        self.interchanges: deque[float] = deque()

    def run(self):
        faults: list[Callable[[], None]] = [
            self.kill_worker,
            self.kill_worker,
            self.kill_manager,
            self.doze_manager,
            self.kill_interchange,
            self.freeze_interchange,
        ]
        while not self.done.wait(self.rng.uniform(1, 4)):
            fault = self.rng.choice(faults)
            try:
                fault()
                self.broken[fault.__name__] += 1
            except psutil.NoSuchProcess:
                self.broken["missed"] += 1
            except Exception as e:  # for the test to raise
                self.problems.append(e)
                return

    def manager(self):
        # Not by a question to the interchange, which may be what is broken.
        views = list(self.executor._client.connected.managers.values())
        if not views:
            raise psutil.NoSuchProcess(0)
        return psutil.Process(self.rng.choice(views).process_id)

    def kill_worker(self):
        workers = [p for p in self.manager().children() if "worker" in " ".join(p.cmdline())]
        if workers:
            self.rng.choice(workers).kill()

    def kill_manager(self):
        if len(self.executor._client.connected.managers) > 1:
            self.manager().kill()

    def doze_manager(self):
        manager = self.manager()
        manager.suspend()
        self.done.wait(0.5)
        manager.resume()

    def interchange(self):
        now = time.monotonic()
        while self.interchanges and now - self.interchanges[0] > 65:
            self.interchanges.popleft()
        if len(self.interchanges) >= MOST_INTERCHANGES_A_MINUTE:
            raise psutil.NoSuchProcess(0)
        self.interchanges.append(now)
        return psutil.Process(self.executor._client.process.pid)

    def kill_interchange(self):
        self.interchange().kill()

    def freeze_interchange(self):
        self.interchange().send_signal(signal.SIGSTOP)

    def stop(self):
        self.done.set()
        self.join()


class Load:
    """Tasks of all kinds, and what is to come of them.

    Args:
        kernel: where they run.
        rng: decides what is next.
    """

    def __init__(self, kernel, rng):
        self.rng = rng
        self.mirror, self.fail, self.end, self.pause = (
            python_app(f, data_flow_kernel=kernel) for f in (mirror, fail, end_worker, time.sleep)
        )
        self.shell = bash_app(command, data_flow_kernel=kernel)
        self.submitted = self.resolved = 0

    def wave(self):
        """Run many tasks at once, and check how each ends."""
        pairs = [self.one(i) for i in range(150)]
        self.submitted += len(pairs)
        cancelled = [f for f, check in pairs if check is None]
        for future in cancelled:
            future.cancel()
        assert not wait([f for f, _ in pairs], timeout=120).not_done
        for future, check in pairs:
            if check is not None:
                check(future)
            else:
                assert future.cancelled() or future.result() is None
            self.resolved += 1

    def one(self, number):
        kind = self.rng.random()
        if kind < 0.5:
            data = b"%d" % number
            return self.mirror(data), lambda f: equals(f, data[::-1])
        if kind < 0.6:
            data = os.urandom(8) * (MB // 8)
            return self.mirror(data), lambda f: equals(f, data[::-1])
        if kind < 0.7:
            return self.fail(number), lambda f: raises(f, ValueError)
        if kind < 0.8:
            return self.pause(0.02), lambda f: equals(f, None)
        if kind < 0.9:
            return self.pause(0.02), None
        if kind < 0.99:
            code = number % 3
            return self.shell(code), lambda f: raises(f, BashExitFailure) if code else equals(f, 0)
        return self.end(), lambda f: raises(f, PoisonTask)


def command(code):
    return f"exit {code}"


def equals(future, value):
    error = future.exception()
    # Three kills by chance, all of them under this one task, are what three by the task itself look like.
    assert error is None or isinstance(error, PoisonTask), error
    assert error is not None or future.result() == value


def raises(future, kind):
    error = future.exception()
    assert isinstance(error, (kind, PoisonTask)), error
    assert not isinstance(error, CancelledError)
    assert isinstance(error, PoisonTask) or not isinstance(error, WorkerLost)


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(60, marks=pytest.mark.slow), pytest.param(1800, marks=pytest.mark.soak)],
    ids=["short", "long"],
)
def test_whatever_breaks_each_task_ends_once_with_the_right_result(tmp_path, seconds):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    executor = pilot.htex(
        provider=pilot.provider(init_blocks=2, min_blocks=2, max_blocks=2),
        block_error_handler=False,
        heartbeat_period=1,
        heartbeat_threshold=5,
    )
    with pilot.kernel(tmp_path, executor, strategy="simple", system_retries=1000) as kernel:
        load, breaker = Load(kernel, rng), Breaker(executor, random.Random(seed + 1))
        load.wave()
        breaker.start()
        began = time.monotonic()
        slowest = 0.0
        try:
            while time.monotonic() - began < seconds:
                before = time.monotonic()
                load.wave()
                slowest = max(slowest, time.monotonic() - before)
        finally:
            breaker.stop()
        assert not breaker.problems
        assert load.submitted == load.resolved
        assert executor.outstanding() == 0
        assert kernel.task_count == load.submitted
        faults = ", ".join(f"{n} {name}" for name, n in sorted(breaker.broken.items()))
        print(f"{load.submitted} tasks in {time.monotonic() - began:.0f} s, with {faults}")
        chaos_report(f"soak of {seconds} s", "nothing; the slowest 150 tasks took", slowest)
