"""Several real workers on one mailbox."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from queue import SimpleQueue

import psutil
import pytest

from parsl.executors.high_throughput import worker_processes
from parsl.executors.high_throughput.messages import (
    DONE,
    Codec,
    FromWorker,
    Payload,
    Setup,
    Task,
    WorkerReady,
)
from parsl.executors.high_throughput.segments import SegmentStore
from parsl.executors.high_throughput.streams import Stream
from parsl.executors.high_throughput.worker_processes import WorkerProcesses, cause_of_death
from parsl.loop import Loop
from parsl.serialize import facade
from tests.executors.high_throughput.workers import ROOT, SECONDS, packed


class Node:
    """What a manager has: a loop, a store, worker processes. Its methods may be called from any thread."""

    def __init__(self, slots):
        self.store = SegmentStore()
        self.loop = Loop("node")
        self.claims_path = f"{self.store.folder}/claims"
        self.processes = WorkerProcesses(self._setup, self._environment, self.claims_path, slots)
        self.heard = SimpleQueue()
        self.codec = Codec(FromWorker)
        self.loop.start()

    def _setup(self, slot, claims):
        return Setup([ROOT, ""], self.store.folder, f"{self.store.folder}/f", claims, slot, f"m-{slot}")

    def _environment(self, slot):
        return {"PARSL_WORKER_RANK": str(slot), "PARSL_WORKER_LOGDIR": ""}

    def start(self, *slots):
        """Start workers and wait until they are ready."""
        workers = [self.on_loop(self._start, slot) for slot in slots]
        for worker in workers:
            self.on_loop(self.processes.introduce, worker)
        assert {self.heard.get(timeout=SECONDS) for _ in slots} == {(slot, WorkerReady) for slot in slots}
        return workers

    def _start(self, slot):
        worker = self.processes.start(slot)

        def received(data):
            message = self.codec.decode(data)
            self.heard.put((slot, WorkerReady if type(message) is WorkerReady else message.result))

        worker.stream = Stream(self.loop, worker.connection, received, lambda: None)
        return worker

    def on_loop(self, function, *args):
        return self.loop.call(function, *args)

    def function(self, number, function):
        with open(f"{self.store.folder}/f{number}", "wb") as file:
            file.write(facade.serialize(function))

    def give(self, number, function, *args):
        return self.on_loop(self.processes.give, Task(number, function, packed(args)))

    def results(self, count):
        """Wait for so many results; return the slots of their workers by their numbers."""
        found = {}
        for _ in range(count):
            slot, result = self.heard.get(timeout=SECONDS)
            assert result.status == DONE
            assert result.id not in found, "two results for one call"
            found[result.id] = slot, facade.unpack(result.payload.body)
        return found

    def buried(self, worker):
        """Wait for the end of a worker and bury it as a manager does."""
        worker.process.wait(SECONDS)
        dead = self.on_loop(self.processes.dead)
        assert dead == [worker]
        self.on_loop(worker.stream.drain)
        self.on_loop(worker.close)
        return worker.process.returncode

    def close(self):
        self.on_loop(self.processes.close)
        self.loop.stop()
        assert self.loop.join(SECONDS)
        self.store.close()


@pytest.fixture(scope="module")
def node():
    """Three workers that survive the tests that use them."""
    node = Node(3)
    node.start(0, 1, 2)
    yield node
    node.close()


@pytest.fixture
def fresh():
    node = Node(2)
    yield node
    node.close()


def wait_at(gate):
    """Open a pipe for reading: returns once somebody has opened it for writing."""
    with open(gate) as file:
        return os.getpid(), file.read()


def tell_and_wait(gate):
    """Say which process this is, and go on for ever."""
    with open(gate, "w") as file:
        file.write(str(os.getpid()))
    signal.pause()


# -- the mailbox -------------------------------------------------------------------------------------------------------


def test_every_letter_is_read_once_by_one_worker(node):
    node.function(1, abs)
    for number in range(1, 501):
        while not node.give(number, 1, -number):
            pass
    assert {n: value for n, (_, value) in node.results(500).items()} == {n: n for n in range(1, 501)}


def test_an_idle_worker_takes_what_a_busy_one_has_not(node, tmp_path):
    gates = [tmp_path / str(n) for n in range(3)]
    for gate in gates:
        os.mkfifo(gate)
    node.function(2, wait_at)
    node.function(3, os.getpid)
    for number, gate in enumerate(gates[:2], 601):
        assert node.give(number, 2, str(gate))
    for number in range(610, 630):
        assert node.give(number, 3)
    short = node.results(20)
    assert len({slot for slot, _ in short.values()}) == 1, "the two others are busy"
    (idle,) = {slot for slot, _ in short.values()}
    claims = node.on_loop(node.processes.claims)
    assert {claims[slot] for slot in range(3) if slot != idle} == {601, 602}
    assert claims[idle] == 629
    for gate in gates[:2]:
        gate.write_text("go")
    assert {value[1] for _, value in node.results(2).values()} == {"go"}


def test_a_full_mailbox_refuses_and_gives_back_all_in_order(fresh):
    given = 0
    while fresh.give(given + 1, 1, bytes(30_000)):
        given += 1
        assert given < 10_000, "a mailbox has an end"
    assert given >= 3
    letters = fresh.on_loop(fresh.processes.take_back)
    assert [Codec(Task).decode(letter).id for letter in letters] == list(range(1, given + 1))
    assert fresh.on_loop(fresh.processes.take_back) == []
    assert fresh.give(1, 1)


def test_room_in_the_mailbox_is_told(fresh):
    room = SimpleQueue()
    payload = Payload(b"x" * 30_000)
    while fresh.on_loop(fresh.processes.give, Task(1, 1, payload)):
        pass

    def has_room():
        fresh.loop.remove_writer(fresh.processes.mail)
        room.put(fresh.processes.give(Task(2, 1, payload)))

    fresh.on_loop(fresh.loop.add_writer, fresh.processes.mail, has_room)
    assert room.empty()
    fresh.on_loop(fresh.processes.take_back)
    assert room.get(timeout=SECONDS) is True


def test_the_largest_letter_is_read_whole(node):
    node.function(4, len)
    body = "x" * 32_000
    assert node.give(700, 4, body)
    assert node.results(1)[700][1] == len(body)


def test_nothing_is_lost_or_doubled_when_letters_are_taken_back_while_workers_read(node):
    node.function(5, abs)
    total, rounds = 3000, 0
    waiting = [Task(n, 5, packed((-n,))) for n in range(1, total + 1)]
    by_number = {t.id: t for t in waiting}
    codec = Codec(Task)

    def shuffle():
        """Give what there is, and take back what nobody has taken: all within one call, as a pool does."""
        while waiting and node.processes.give(waiting[0]):
            waiting.pop(0)
        back = [codec.decode(letter).id for letter in node.processes.take_back()]
        assert back == sorted(back)
        waiting[:0] = [by_number[n] for n in back]
        for task in waiting[:40]:
            if not node.processes.give(task):
                break
            waiting.remove(task)
        return len(waiting)

    while node.on_loop(shuffle):
        rounds += 1
    assert rounds > 3
    found = node.results(total)
    assert {n: value for n, (_, value) in found.items()} == {n: n for n in by_number}


# -- processes ---------------------------------------------------------------------------------------------------------


def test_workers_are_children_in_the_group_of_their_manager(node):
    node.function(6, lambda: (os.getppid(), os.getpgrp(), os.environ["PARSL_WORKER_RANK"], os.readlink("/dev/fd/0")))
    node.give(800, 6)
    ((slot, (parent, group, rank, stdin)),) = node.results(1).values()
    assert (parent, group, rank, stdin) == (os.getpid(), os.getpgrp(), str(slot), "/dev/null")


def test_a_worker_that_is_killed_leaves_its_claim_and_the_others_alone(fresh, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fresh.function(1, wait_at)
    fresh.function(2, abs)
    first, second = fresh.start(0, 1)
    by_pid = {first.process.pid: first, second.process.pid: second}
    fresh.function(3, tell_and_wait)
    fresh.give(1, 3, str(gate))
    victim = by_pid[int(gate.read_text())]
    (other,) = {first, second} - {victim}
    fresh.give(2, 2, -2)
    assert fresh.results(1) == {2: (other.slot, 2)}
    victim.process.kill()
    assert fresh.buried(victim) == -signal.SIGKILL
    assert fresh.on_loop(fresh.processes.claim, victim.slot) == 1
    assert fresh.on_loop(fresh.processes.claims) == {other.slot: 2}
    assert fresh.on_loop(fresh.processes.dead) == []

    fresh.start(victim.slot)
    assert fresh.on_loop(fresh.processes.claims) == {victim.slot: 0, other.slot: 2}
    for number in range(3, 50):
        fresh.give(number, 2, -number)
    assert sorted(fresh.results(47)) == list(range(3, 50))


def test_a_worker_that_is_killed_before_its_setup(fresh):
    worker = fresh.on_loop(fresh._start, 0)
    worker.process.kill()
    worker.process.wait(SECONDS)
    fresh.on_loop(fresh.processes.introduce, worker)
    assert fresh.buried(worker) == -signal.SIGKILL
    assert fresh.heard.empty()


def test_what_a_worker_said_before_its_end_is_heard(fresh):
    (worker,) = fresh.start(0)
    fresh.function(1, abs)
    fresh.function(2, sys.exit)
    fresh.give(1, 1, -5)
    fresh.give(2, 2, 3)
    assert fresh.buried(worker) == 3
    assert fresh.results(1) == {1: (0, 5)}
    assert fresh.on_loop(fresh.processes.claim, 0) == 2


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process by its descriptor")
def test_closing_kills_workers_with_all_that_they_have_started():
    node = Node(1)
    node.start(0)
    node.function(1, lambda: subprocess.Popen(["sleep", "300"]).pid)
    node.function(2, signal.pause)
    node.give(1, 1)
    (child,) = (psutil.Process(value) for _, value in node.results(1).values())
    worker = node.processes.by_slot[0].process
    node.give(2, 2)
    ended = os.pidfd_open(child.pid)
    node.close()
    assert worker.returncode == -signal.SIGKILL
    # Killed, but not a child of this process, which therefore is not told when it has died.
    assert select.select([ended], [], [], 20)[0]
    os.close(ended)
    assert not os.path.exists(node.claims_path)


def test_closing_after_the_whole_folder_was_removed():
    node = Node(1)
    node.start(0)
    shutil.rmtree(node.store.folder)
    node.close()


def test_a_process_that_cannot_be_started_leaves_nothing_open(fresh, monkeypatch):
    before = len(os.listdir("/dev/fd"))
    monkeypatch.setattr(worker_processes.sys, "executable", "/no/such/python")
    with pytest.raises(FileNotFoundError):
        fresh.on_loop(fresh.processes.start, 0)
    assert len(os.listdir("/dev/fd")) == before
    assert fresh.processes.by_slot == {}


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(0, "exit code 0"), (7, "exit code 7"), (-9, "signal SIGKILL"), (-15, "signal SIGTERM"), (-99, "signal 99")],
)
def test_cause_of_death(returncode, words):
    assert cause_of_death(returncode) == words
