"""The process that holds an engine's manager: Work Queue's or TaskVine's library, on a loop of ours.

The library's `wait` keeps Python's global lock while it waits and while it sends files, so it has a process of its
own. It is called only when there is something to do: a message of the executor, a readable socket of the manager.
`docs/design/cctools.md` tells how.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import socket
import stat
import sys
import time
from typing import Any, Protocol

import msgspec

from parsl.executors.cctools_messages import (
    Cancel,
    Cancelled,
    End,
    Ends,
    ManagerConfig,
    Ready,
    Refused,
    Stop,
    Task,
    ToManager,
)
from parsl.executors.high_throughput.streams import Stream
from parsl.loop import Loop, Timer
from parsl.process_loggers import wrap_with_logs

logger = logging.getLogger(__name__)

# After something has happened the engine is looked at again after the first of these, in seconds, then after twice as
# long each time up to the second: messages may wait in its own buffers, and it has deadlines of its own to watch.
FIRST_LOOK, LAST_LOOK = 0.001, 1.0

# The first look comes no sooner than after so many times what a look costs, which grows with the tasks in the engine.
PATIENCE = 20

# How often an engine that tells a catalogue of itself is called when nothing happens.
CATALOGUE_SECONDS = 30.0

KEEPALIVE: dict[str, float] = {"keepalive-interval": 60, "keepalive-timeout": 30}
"""Seconds after which a silent worker is asked whether it is there, and that it has to answer. Else a lost node is
noticed twice as late."""

# After so many ends the executor is told, and its messages are read.
ENDS_AT_ONCE = 100


class Engine(Protocol):
    """What drives the manager of one engine."""

    port: int

    def submit(self, task: Task) -> int:
        """Hand a task over; return the engine's number of it."""

    def collect(self) -> tuple[int, End] | None:
        """Do all that there is to do now; return a task that has ended, with the engine's number, or None.

        The `End` has no number of ours yet. Must not wait.
        """

    def cancel(self, engine_id: int) -> bool:
        """Drop a task that has not started; tell whether it did."""

    def close(self) -> None:
        """End the manager and what was started for it."""


def end_of(result: str, status: int, exceeded: Any, said: str | None) -> End:
    """Make the end of a task, with what is known of a failure.

    Args:
        result: the engine's word for it, in lower case.
        status: exit code of the task's command.
        exceeded: the engine's record of the limits that were exceeded, or None.
        said: standard output and error of the command.
    """
    if result == "success" and status == 0:
        return End(0, result, status)
    limits = {name: getattr(exceeded, name, None) for name in ("cores", "memory", "disk", "gpus", "wall_time")}
    words = [f"{name} (limit {limit:g})" for name, limit in limits.items() if limit is not None and limit > -1]
    if words and result == "max retries":
        # It was tried again with all that its worker has, and in vain.
        result = "resource exhaustion"
    text = (said or "").strip()[-1000:]
    return End(0, result, status, "; ".join([*words, *([f"it said: {text}"] if text else [])]))


def port_for(wanted: int) -> int:
    """Return the port for a manager: the one wanted, or for 0 one that is free.

    Left to themselves all managers take the first that is free from 1024 on, where the workers of one that has ended
    still look for it. A range in the environment, as the library knows it, is left to the library.
    """
    if wanted or "TCP_LOW_PORT" in os.environ:
        return wanted
    with socket.create_server(("", 0)) as free:
        return int(free.getsockname()[1])


class NeverWaits:
    """Makes the `wait` of a cctools library return as soon as it has nothing more to do.

    The library can mix tasks with local child processes, and then returns from `wait` whenever a child has ended
    that nobody has asked for. It is told of one here, for good: it looks at its sockets, sends and receives what there
    is, and returns, where it would sleep for a second.

    Args:
        library: path of the extension module.
        enable: name of the function that has `wait` look for ended children.
        queue: the library's own object, as its Python module holds it.

    Raises:
        AttributeError: when the library has no such function.
    """

    # The record of an ended child, as the library keeps them; larger than it is anywhere.
    _child = ctypes.create_string_buffer(4096)

    def __init__(self, library: str, enable: str, queue: Any) -> None:
        functions = ctypes.PyDLL(library)
        enabled, put_back = getattr(functions, enable), functions.process_putback
        enabled.argtypes = put_back.argtypes = [ctypes.c_void_p]
        enabled(int(queue))
        put_back(ctypes.addressof(self._child))


class Manager:
    """An engine on a loop, and the executor at the other end of a stream.

    Args:
        loop: the loop of this process.
        connection: the socket to the executor.
        engine: what drives the manager.
        project: whether the engine has to be called now and then though nothing happens.
    """

    def __init__(self, loop: Loop, connection: socket.socket, engine: Engine, *, project: bool = False) -> None:
        self._loop = loop
        self._engine = engine
        self._project = project
        self._codec = msgspec.msgpack.Decoder(ToManager)
        self._numbers: dict[int, int] = {}
        self._engine_ids: dict[int, int] = {}
        self._watched: set[int] = set()
        self._lowest_free = -1
        self._look_again = FIRST_LOOK
        self._cost = 0.0
        self._timer: Timer | None = None
        self._posted = False
        self.stream = Stream(loop, connection, self._received, loop.stop)
        self._soon()

    def send(self, message: Any) -> None:
        """Tell the executor something."""
        self.stream.send([msgspec.msgpack.encode(message)])

    # -- what the executor says ----------------------------------------------------------------------------------

    def _received(self, data: memoryview) -> None:
        message = self._codec.decode(data)
        if isinstance(message, Task):
            self._submit(message)
        elif isinstance(message, Cancel):
            self._cancel(message.number)
        elif isinstance(message, Stop):
            self._loop.stop()
        self._soon()

    def _submit(self, task: Task) -> None:
        try:
            engine_id = self._engine.submit(task)
        except Exception as e:
            logger.exception("Task %d cannot be submitted", task.number)
            self.send(Ends([End(task.number, "not submitted", 0, f"{type(e).__name__}: {e}")]))
            return
        self._numbers[engine_id] = task.number
        self._engine_ids[task.number] = engine_id

    def _cancel(self, number: int) -> None:
        engine_id = self._engine_ids.get(number)
        done = engine_id is not None and self._engine.cancel(engine_id)
        if done:
            self._forget(number)
        self.send(Cancelled(number, done))

    def _forget(self, number: int) -> None:
        self._numbers.pop(self._engine_ids.pop(number), None)

    # -- what the engine does ------------------------------------------------------------------------------------

    def _soon(self) -> None:
        """Call the engine at the loop's next pass, once for all that has come in by then."""
        if not self._posted:
            self._posted = True
            self._loop.post(self._call_engine)

    def _call_engine(self) -> None:
        self._posted = False
        self._look_again = FIRST_LOOK
        self._pass()

    def _pass(self) -> None:
        began = time.perf_counter()
        ends: list[End] = []
        while len(ends) < ENDS_AT_ONCE:
            found = self._engine.collect()
            if found is None:
                break
            engine_id, end = found
            number = self._numbers.get(engine_id)
            if number is not None:
                end.number = number
                self._forget(number)
                ends.append(end)
        else:
            self._soon()
        self._cost = time.perf_counter() - began
        if ends:
            self._look_again = FIRST_LOOK
            self.send(Ends(ends))
        if self._lowest_free != _lowest_free():
            self._watch()
        self._arm()

    def _arm(self) -> None:
        """Have the engine called again though nothing may happen, less and less often."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._numbers or self._look_again <= LAST_LOOK:
            self._look_again = max(self._look_again, min(self._cost * PATIENCE, LAST_LOOK))
            self._timer = self._loop.call_later(min(self._look_again, LAST_LOOK), self._tick)
        elif self._project:
            self._timer = self._loop.call_later(CATALOGUE_SECONDS, self._tick)

    def _tick(self) -> None:
        # Beyond the last look, so that an engine with nothing to do is left alone after it.
        self._look_again = min(self._look_again * 2, LAST_LOOK * 2)
        self._watch()
        self._pass()

    # -- which sockets are the engine's --------------------------------------------------------------------------

    def _watch(self) -> None:
        """Wait for the sockets that the engine has open now: they are those at its port."""
        found = {fd for fd in _descriptors() if _is_at_port(fd, self._engine.port)}
        for fd in self._watched:
            # Also one that is still there: its number may have gone to another connection meanwhile.
            try:
                self._loop.remove_reader(fd)
            except OSError as e:
                logger.debug("descriptor %d was closed by the engine: %s", fd, e)
        for fd in found:
            self._loop.add_reader(fd, self._soon)
        self._watched = found
        self._lowest_free = _lowest_free()

    def close(self) -> None:
        """End the engine."""
        self.stream.close()
        self._engine.close()


def _descriptors() -> list[int]:
    # /dev/fd is there on Linux and macOS alike; the folder's own descriptor is closed by the time of the answer.
    return [int(name) for name in os.listdir("/dev/fd")]


def _lowest_free() -> int:
    """Return the number that the next descriptor gets: another one as soon as the engine opens or closes one."""
    fd = os.dup(0)
    os.close(fd)
    return fd


def _is_at_port(fd: int, port: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        looking = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        return looking.family in (socket.AF_INET, socket.AF_INET6) and looking.getsockname()[1] == port
    except OSError:
        return False
    finally:
        looking.detach()


def _engine_of(config: ManagerConfig) -> Engine:
    module, _, name = config.engine.partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(config.folder, **config.options)
    return engine


@wrap_with_logs
def main() -> None:
    """Run a manager: the socket's descriptor is the argument, the configuration comes on standard input."""
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=ManagerConfig)
    connection = socket.socket(fileno=int(sys.argv[1]))
    # A ctrl-C in the terminal goes to the whole group: the executor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop = Loop("manager")
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    try:
        engine = _engine_of(config)
    except Exception as e:
        logger.exception("The manager of executor %s does not start", config.label)
        stream = Stream(loop, connection, lambda _: None, loop.stop)
        stream.send([msgspec.msgpack.encode(Refused(f"{type(e).__name__}: {e}"))])
        stream.close(linger=1000)
        sys.exit(1)
    manager = Manager(loop, connection, engine, project=config.project)
    manager.send(Ready(engine.port))
    loop.run()
    manager.close()


if __name__ == "__main__":
    # By its name, so that the classes are those of the imported module.
    from parsl.executors.cctools_manager import main as _main

    _main()
