"""What the number of managers costs the broker alone: `python -m benchmarks.scale_broker`, with `--help` for more."""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import time
from collections.abc import Iterator

from parsl.executors.high_throughput.broker import Broker
from parsl.executors.high_throughput.interchange import calm_collector
from parsl.executors.high_throughput.manager_selector import RandomManagerSelector
from parsl.executors.high_throughput.messages import (
    DONE,
    PROTOCOL_VERSION,
    Payload,
    Register,
    Registered,
    Result,
    Results,
    Submit,
    Task,
    Tasks,
    ToClient,
    ToManager,
)

PYTHON, PARSL = "3.12.4", "2026.11.0"

# Calls in a message of a manager, and of the client: what gathers while a pass runs, when all are busy.
BATCH = 16

# Passes between two looks at the clock, which is that of this thread: the time that others take is none of it.
PORTION = 50


class Shelf:
    """An outbox that sends nothing and keeps account of which manager has which calls."""

    def __init__(self) -> None:
        self.calls: dict[bytes, list[int]] = {}
        self.ended = 0
        self._sent: list[tuple[bytes, ToManager]] = []

    def to_client(self, message: ToClient) -> None:
        """Count the ends of calls."""
        if isinstance(message, Results):
            self.ended += len(message.results)

    def to_manager(self, identity: bytes, message: ToManager) -> None:
        """Keep the message for `settle`."""
        self._sent.append((identity, message))

    def settle(self) -> None:
        """Note who has got which calls; apart, since it is no part of what is measured."""
        for identity, message in self._sent:
            if isinstance(message, Tasks):
                self.calls.setdefault(identity, []).extend([t.id for t in message.tasks])
        self._sent.clear()

    def welcome(self, about: Register) -> Registered:
        """Welcome everybody."""
        del about
        return Registered([], False, "")


class BrokerUnderLoad:
    """A broker whose managers are all registered.

    Args:
        managers: how many there are.
        workers: of each.
    """

    def __init__(self, managers: int, workers: int) -> None:
        self.shelf = Shelf()
        self.broker = Broker(self.shelf, RandomManagerSelector(), 120.0, PYTHON, PARSL)
        self.names = [b"manager-%06d" % n for n in range(managers)]
        self._ids = itertools.count(1)
        self._workers = workers
        self._now = 0.0
        for number, name in enumerate(self.names):
            about = Register(
                name.decode(),
                PROTOCOL_VERSION,
                str(number),
                f"node{number}",
                workers,
                workers,
                PYTHON,
                PARSL,
                "",
                "",
                1,
                86400.0,
            )
            self.broker.register(name, about, self._now)
        self.broker.flush(self._now)

    def new_calls(self, count: int) -> Submit:
        """Make calls as the client sends them."""
        return Submit([Task(next(self._ids), 0, Payload(b"x" * 100)) for _ in range(count)], {}, [])

    def fill(self) -> None:
        """Give every worker a call."""
        self.broker.submit(self.new_calls(len(self.names) * self._workers))
        self.broker.assign(self._now)
        self.shelf.settle()

    def ends(self, name: bytes, count: int) -> Results:
        """Make the message by which a manager ends the oldest of its calls."""
        calls = self.shelf.calls[name]
        ended, calls[:count] = calls[:count], []
        return Results([Result(n, DONE, Payload(b"y" * 50), 0.1) for n in ended], self._workers)

    def busy(self, passes: int) -> float:
        """Measure passes in which one of the managers, all busy, ends some calls and gets as many new ones.

        Returns:
            Seconds for each call.
        """
        names = random.sample(self.names, min(passes, len(self.names)))
        names = list(itertools.islice(itertools.cycle(names), passes))
        batch = min(BATCH, self._workers)
        # In portions: a manager that comes twice has to have got its new calls in between.
        size = min(len(self.names), PORTION)
        seconds = 0.0
        for portion in range(0, passes, size):
            some = names[portion : portion + size]
            messages = [(name, self.ends(name, batch), self.new_calls(batch)) for name in some]
            begin = time.thread_time()
            for name, ends, calls in messages:
                self._now += 0.001
                self.broker.submit(calls)
                self.broker.heard(name, ends, self._now)
                self.broker.assign(self._now)
                self.broker.flush(self._now)
            seconds += time.thread_time() - begin
            self.shelf.settle()
        return seconds / (passes * batch)

    def idle(self, passes: int) -> float:
        """Measure passes in which one call comes, when next to all managers are idle, and passes in which one ends.

        Returns:
            Seconds for each call.
        """
        seconds = 0.0
        for _ in range(0, passes, PORTION):
            calls = [self.new_calls(1) for _ in range(PORTION)]
            begin = time.thread_time()
            for call in calls:
                self._now += 0.001
                self.broker.submit(call)
                self.broker.assign(self._now)
            seconds += time.thread_time() - begin
            self.shelf.settle()
            ends = [(name, self.ends(name, 1)) for name, calls_of in self.shelf.calls.items() for _ in list(calls_of)]
            self.shelf.calls.clear()
            begin = time.thread_time()
            for name, end in ends:
                self._now += 0.001
                self.broker.heard(name, end, self._now)
                self.broker.assign(self._now)
                self.broker.flush(self._now)
                self.broker.expire(self._now)
            seconds += time.thread_time() - begin
        return seconds / passes


def broker_costs(managers: int, workers: int, passes: int, repeats: int) -> tuple[float, float]:
    """Measure the broker with one number of managers.

    Returns:
        Seconds for each call when all are busy and when all are idle: the least of `repeats` measurements, since what
        others do on the machine can only add to it.
    """
    load = BrokerUnderLoad(managers, workers)
    idle = min(load.idle(passes) for _ in range(repeats))
    load.shelf.calls.clear()
    load.fill()
    busy = min(load.busy(passes) for _ in range(repeats))
    return busy, idle


def broker_table(counts: list[int], workers: int, passes: int, repeats: int) -> Iterator[str]:
    """Yield the lines of the table, the costs of each number of managers against those of the first."""
    yield f"The broker alone: us for each call; {workers} workers a manager; busy ones end {BATCH} calls at once"
    yield "| managers | busy, us/call | ratio | idle, us/call | ratio |"
    yield "|---:|---:|---:|---:|---:|"
    calm_collector()
    first: tuple[float, float] | None = None
    for count in counts:
        busy, idle = broker_costs(count, workers, passes, repeats)
        first = first or (busy, idle)
        yield (f"| {count:,} | {busy * 1e6:.2f} | {busy / first[0]:.2f} | {idle * 1e6:.2f} | {idle / first[1]:.2f} |")
        gc.collect()


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="scale_broker.py", description=__doc__)
    parser.add_argument("--managers", default="1,10,100,1000,10000", help="numbers of managers, separated by commas")
    parser.add_argument("--workers", type=int, default=64, help="workers of each")
    parser.add_argument("--passes", type=int, default=1000, help="passes of the loop in each measurement")
    parser.add_argument("--repeats", type=int, default=40, help="measurements, of which the least counts")
    o = parser.parse_args(arguments)
    for line in broker_table([int(n) for n in o.managers.split(",")], o.workers, o.passes, o.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
