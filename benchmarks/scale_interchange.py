"""An interchange process with thousands of simulated managers, over real TCP connections.

`python -m benchmarks.scale_interchange`, with `--help` for more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import psutil

from parsl.curvezmq import create_certificates
from parsl.dataflow.taskrecord import Outcome
from parsl.executors.high_throughput.client import InterchangeClient, interchange_command
from parsl.executors.high_throughput.interchange_config import InterchangeConfig
from parsl.executors.high_throughput.manager_selector import RandomManagerSelector
from parsl.loop import Loop

# For what the crowd is asked to do.
PATIENCE = 60.0


class Costs(msgspec.Struct):
    """What one run has found.

    Attributes:
        managers: how many there were.
        curve: whether connections were encrypted.
        registered: how many the interchange took in.
        registration: seconds from the first connection to the last answer.
        fds: descriptors of the interchange process for each manager.
        threads: of the interchange process, before and after the managers came.
        register_messages: to and from each manager until it was registered.
        beat_messages: to and from each manager for one heartbeat.
        beat_cpu: seconds of the processor that the interchange took for one heartbeat of one manager.
        memory: bytes that the interchange process grew by for each manager.
        rate: calls a second.
        cpu: seconds of the processor that the interchange took for each call.
    """

    managers: int
    curve: bool
    registered: int
    registration: float
    fds: float
    threads: tuple[int, int]
    register_messages: float
    beat_messages: float
    beat_cpu: float
    memory: float
    rate: float
    cpu: float


class CountedCall:
    """A call whose end is counted only."""

    def __init__(self, left: Countdown) -> None:
        self.id = -1
        self.func = abs
        self.args = (1,)
        self.kwargs: dict[str, Any] = {}
        self.resource_specification: dict[str, Any] = {}
        self.executor_id: int | None = None
        self._left = left

    def done(self, outcome: Outcome) -> None:
        """Count the end."""
        self._left.one_less(outcome)


class Countdown:
    """Counts calls down; `ended` has the last outcome when there are none left.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.ended: Future[Outcome] = Future()

    def one_less(self, outcome: Outcome) -> None:
        """Count one; all ends come on the same loop."""
        self._count -= 1
        if self._count == 0:
            self.ended.set_result(outcome)


class CrowdProcess:
    """A process of simulated managers, see `benchmarks.crowd`."""

    def __init__(self, count: int, workers: int, port: int, cert_dir: str | None) -> None:
        about = json.dumps({"count": count, "workers": workers, "port": port, "cert_dir": cert_dir})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crowd", about],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        self._read()

    def ask(self, command: str) -> dict[str, float]:
        """Give a command; return the answer.

        Raises:
            TimeoutError: when there is none within `PATIENCE`.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, float]:
        assert self.process.stdout is not None
        guard = threading.Timer(PATIENCE, self.process.kill)
        guard.start()
        try:
            line = self.process.stdout.readline()
        finally:
            guard.cancel()
            guard.join()
        if not line:
            raise TimeoutError(f"the simulated managers did not answer within {PATIENCE:g} s, or have ended")
        answer: dict[str, float] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate("end\n")


class Probe:
    """An interchange process and what it takes."""

    def __init__(self, folder: str, *, curve: bool) -> None:
        self.cert_dir = create_certificates(folder) if curve else None
        self.loop = Loop("scale")
        self.loop.start()
        self.client = InterchangeClient(self.loop, "scale", self._lost, lambda _: None)
        config = InterchangeConfig(
            client_path=self.client.path,
            manager_path=f"{self.client.store.folder}/managers",
            address="127.0.0.1",
            port=None,
            port_range=(54000, 55000),
            ipv6=False,
            cert_dir=self.cert_dir,
            segments=self.client.store.folder,
            sys_path=[],
            heartbeat_threshold=120,
            logdir=folder,
        )
        self.port = self.client.start(interchange_command(), config, RandomManagerSelector(), True)
        assert self.client.process is not None
        self.process = psutil.Process(self.client.process.pid)

    @staticmethod
    def _lost(error: Exception) -> None:
        print(f"the interchange is lost: {error}", file=sys.stderr, flush=True)

    def known(self) -> int:
        """Return how many managers the client has been told of."""
        # The question comes back after all that was told before.
        self.client.commands.run("WORKERS")
        return len(self.client.connected.managers)

    def cpu(self) -> float:
        """Return the seconds of the processor that the interchange has taken."""
        times = self.process.cpu_times()
        return times.user + times.system

    def run_calls(self, count: int) -> float:
        """Run calls; return the seconds that they took."""
        left = Countdown(count)
        begin = time.monotonic()
        for portion in range(0, count, 500):
            self.loop.call(self._launch, left, min(500, count - portion))
        left.ended.result(PATIENCE)
        return time.monotonic() - begin

    def _launch(self, left: Countdown, count: int) -> None:
        for _ in range(count):
            call = CountedCall(left)
            call.executor_id = self.client.launch(call, {})

    def close(self) -> None:
        """End the interchange."""
        self.client.shutdown()
        self.loop.stop()
        self.loop.join()


def measure(managers: int, workers: int, calls: int, *, curve: bool) -> Costs:
    """Run one interchange with simulated managers.

    Args:
        managers: how many.
        workers: of each.
        calls: how many to run.
        curve: whether connections are encrypted.

    Raises:
        TimeoutError: when managers do not all register within a minute.
    """
    with tempfile.TemporaryDirectory() as folder:
        probe = Probe(folder, curve=curve)
        try:
            crowd = CrowdProcess(managers, workers, probe.port, probe.cert_dir)
            try:
                return _measure(probe, crowd, managers, calls, curve=curve)
            finally:
                crowd.close()
        finally:
            probe.close()


def _measure(probe: Probe, crowd: CrowdProcess, managers: int, calls: int, *, curve: bool) -> Costs:
    process = probe.process
    fds, threads, memory = process.num_fds(), process.num_threads(), process.memory_info().rss
    come = crowd.ask("connect")
    known = probe.known()
    grown = process.memory_info().rss - memory
    opened, threads_after = process.num_fds() - fds, process.num_threads()
    before = probe.cpu()
    beat = crowd.ask("beat")
    beat_cpu = probe.cpu() - before
    probe.run_calls(min(calls, 1000))
    before = probe.cpu()
    seconds = probe.run_calls(calls)
    return Costs(
        managers=managers,
        curve=curve,
        registered=min(known, int(come["registered"])),
        registration=come["seconds"],
        fds=opened / managers,
        threads=(threads, threads_after),
        register_messages=(come["sent"] + come["received"]) / managers,
        beat_messages=(beat["sent"] + beat["received"]) / managers,
        beat_cpu=beat_cpu / managers,
        memory=grown / managers,
        rate=calls / seconds,
        cpu=(probe.cpu() - before) / calls,
    )


def row(costs: Costs) -> str:
    """Write the line of the table for one run."""
    return (
        f"| {costs.managers:,} | {'on' if costs.curve else 'off'} | {costs.registered:,} | {costs.registration:.2f} "
        f"| {costs.fds:.3f} | {costs.threads[0]}, {costs.threads[1]} | {costs.memory / 1024:.0f} "
        f"| {costs.register_messages:g}, {costs.beat_messages:g} | {costs.beat_cpu * 1e6:.0f} "
        f"| {costs.rate:,.0f} | {costs.cpu * 1e6:.1f} |"
    )


HEAD = """\
| managers | CURVE | registered | in s | fds each | threads | KiB each | messages | us a beat | calls/s | us/call |
|---:|---|---:|---:|---:|---|---:|---:|---:|---:|---:|"""


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="scale_interchange.py", description=__doc__)
    parser.add_argument("--managers", default="1,200,2000", help="numbers of managers, separated by commas")
    parser.add_argument("--workers", type=int, default=64, help="workers of each")
    parser.add_argument("--calls", type=int, default=50000, help="calls to run through them")
    o = parser.parse_args(arguments)
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores; {o.calls:,} calls, {o.workers} workers a manager"
    )
    print("threads: before and after the managers came; messages: to and from each to register, and for a heartbeat")
    print(HEAD)
    for curve in (False, True):
        for managers in map(int, o.managers.split(",")):
            print(row(measure(managers, o.workers, o.calls, curve=curve)), flush=True)


if __name__ == "__main__":
    main()
