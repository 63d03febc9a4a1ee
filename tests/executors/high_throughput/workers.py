"""One real worker process on sockets of ours, started the way a manager starts its workers."""

from __future__ import annotations

import itertools
import os
import pathlib
import pickle
import socket
import subprocess
import sys

from parsl.executors.high_throughput.messages import (
    RAISED,
    Codec,
    FromWorker,
    Payload,
    PlacedTask,
    Setup,
    WorkerReady,
)
from parsl.executors.high_throughput.segments import SegmentStore
from parsl.executors.high_throughput.streams import LENGTH
from parsl.executors.high_throughput.worker import CLAIM, CLAIMS, receive
from parsl.executors.high_throughput.worker_processes import MAILBOX
from parsl.serialize import facade
from parsl.watchdog import open_words, read_words

SECONDS = 30

# Where the modules of the tests are found.
ROOT = str(pathlib.Path(__file__).parents[3])


class LiveWorker:
    """A worker process, and the manager's ends of its sockets.

    Args:
        folder: where its functions and its claim lie.
        environment: what a manager would add to the environment.
        manager: the process id that the worker takes for its manager's.
    """

    def __init__(self, folder, environment=None, manager=None):
        self.store = SegmentStore()
        self.folder = str(folder)
        self.claims_path = f"{folder}/claims"
        with open(self.claims_path, "wb") as file:
            file.write(bytes(CLAIMS.size))
        self.mail, mailbox = socket.socketpair(socket.AF_UNIX, MAILBOX)
        self.answers, theirs = socket.socketpair()
        self.answers.settimeout(SECONDS)
        self.words = open_words()
        fds = (mailbox.fileno(), theirs.fileno(), self.words)
        command = [sys.executable, "-m", "parsl.executors.high_throughput.worker"]
        self.process = subprocess.Popen(
            [*command, *map(str, (*fds, manager or os.getpid()))],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        mailbox.close()
        theirs.close()
        self._numbers = itertools.count(1)
        self._codec = Codec(FromWorker)

    def introduce(self, sys_path=(ROOT, "")):
        """Send the setup and wait until the worker is ready."""
        setup = Setup(list(sys_path), self.store.folder, f"{self.folder}/f", self.claims_path, 0, "m-0")
        data = self._codec.encode(setup)
        self.answers.sendall(LENGTH.pack(len(data)) + data)
        assert self.hear() == WorkerReady()
        return self

    def hear(self):
        return self._codec.decode(receive(self.answers))

    def claim(self):
        with open(self.claims_path, "rb") as file:
            return CLAIMS.unpack(file.read())[0]

    def doom(self, number):
        """Say that the worker is about to be killed for the sake of a task."""
        with open(self.claims_path, "r+b") as file:
            file.seek(CLAIM.size)
            file.write(CLAIM.pack(number))

    def give(self, payload, function=0, environment=None):
        """Put a task into the mailbox and return its number."""
        number = next(self._numbers)
        self.mail.send(self._codec.encode(PlacedTask(number, function, payload, environment=environment)))
        return number

    def call(self, function, *args, within=None, **kwargs):
        """Have a function called, as the client and the manager would; return the number of the call.

        Args:
            function: the function.
            args: its arguments.
            within: the packed variables of the call, or None.
            kwargs: its keyword arguments.
        """
        number = next(self._numbers)
        with open(f"{self.folder}/f{number}", "wb") as file:
            file.write(facade.serialize(function))
        return self.give(self.store.payload(*facade.pack_arguments(args, kwargs)), number, within)

    def result(self):
        """Return the next result as it is."""
        return self.hear().result

    def outcome(self):
        """Return what the next call returned, or raise what it raised; its segment is gone then."""
        result = self.result()
        body, buffers = self.store.open(result.payload)
        self.store.drop(result.payload)
        value = facade.unpack(body, buffers)
        if result.status == RAISED:
            wrapper, where = value
            exception = wrapper.get_exception()
            exception.where = where
            raise exception
        return value

    def run(self, function, *args, **kwargs):
        """Call a function in the worker and wait for its end."""
        self.call(function, *args, **kwargs)
        return self.outcome()

    def last_words(self):
        """Return what the worker has written for the case of its end."""
        return read_words(self.words)

    def ended(self):
        """Wait for the end of the process; return its exit code and what it wrote to standard error."""
        errors = self.process.communicate(timeout=SECONDS)[1]
        return self.process.returncode, errors.decode()

    def close(self):
        """Let the worker go, and see to it that it goes."""
        self.mail.close()
        self.answers.close()
        os.close(self.words)
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self.store.close()


def packed(args, kwargs=None):
    """Pack arguments whatever they are, without asking the facade."""
    return Payload(b"V1\n" + pickle.dumps((args, kwargs or {}), 5))
