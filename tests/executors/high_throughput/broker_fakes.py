"""What the tests of the Broker share: an outbox that keeps messages, selectors that misbehave, messages in short."""

from __future__ import annotations

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.manager_selector import ManagerSelector
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
)

THRESHOLD = 120.0
PYTHON, PARSL = "3.12.4", "2026.11.0"


class FakeOutbox:
    """Keeps what the broker sends, after a trip through the codecs: what cannot travel fails here."""

    def __init__(self):
        self.client = []
        self.managers = []
        self.all_left = True
        self._to_client, self._to_manager = messages.to_client(), messages.to_manager()

    def to_client(self, message):
        self.client.append(self._to_client.decode(self._to_client.encode(message)))

    def to_manager(self, identity, message):
        self.managers.append((identity, self._to_manager.decode(self._to_manager.encode(message))))

    def delivered(self):
        return self.all_left

    def welcome(self, about):
        return Registered(["/script"], False, "")

    def sent(self, identity, kind=Tasks):
        return [m for i, m in self.managers if i == identity and type(m) is kind]

    def tasks_of(self, identity):
        return [t.id for m in self.sent(identity) for t in m.tasks]

    def reported(self):
        return [r for m in self.client if type(m) is Results for r in m.results]


def register(
    identity=b"m",
    workers=1,
    capacity=None,
    block="0",
    python=PYTHON,
    protocol=PROTOCOL_VERSION,
    seconds_left=None,
    tasks=None,
):
    capacity = workers if capacity is None else capacity
    name = identity.decode()
    return Register(
        *(name, protocol, block, "node", workers, capacity, python, PARSL, "/shm", "token", 1, seconds_left),
        tasks=tasks,
    )


def task(number, priority=None, function=0, seconds=None):
    resources = {k: v for k, v in (("priority", priority), ("walltime", seconds)) if v is not None}
    return Task(number, function, Payload(b"%d" % number), resources or None)


def submit(*numbers, priority=None, function=0, functions=None):
    return Submit([task(n, priority, function) for n in numbers], functions or {}, [])


def done(*numbers, credit=1, number=0):
    return Results([Result(n, DONE, Payload(b"r%d" % n), 0.1) for n in numbers], credit, number)


class Failing(ManagerSelector):
    def sort_managers(self, ready_managers, manager_list):
        raise KeyError("a user's mistake")


class Confused(ManagerSelector):
    """Names strangers, names some twice, and empties the set that it was given."""

    def sort_managers(self, ready_managers, manager_list):
        names = sorted(manager_list)
        manager_list.clear()
        return [b"stranger", *names, *names]
