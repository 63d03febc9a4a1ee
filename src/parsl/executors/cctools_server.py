"""A Python on an engine's worker that stays, with processes that make calls: it saves the start of Python for each.

It is reached in one of three ways, by the command line that it is started with:

- `--warm FOLDER WORKER`: on a port of this host that it writes into FOLDER; the shell commands of ordinary tasks
  connect there. It ends when the process WORKER does.
- `--coprocess`: as a coprocess of Work Queue.
- with the options that TaskVine gives the process of a library: as such a library.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import json
import os
import secrets
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

# Both are what nearly every call needs.
import cloudpickle  # noqa: F401

from parsl.executors.cctools_command import COPROCESS
from parsl.executors.cctools_task import run

_LARGEST_REQUEST = 65536


class Children:
    """The processes that make calls, each in a session of its own.

    One that has made a call waits for the next, so that what its calls import is imported once.

    Args:
        selector: what this process waits on.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._busy: dict[int, Callable[[int], object]] = {}
        self._idle: list[int] = []
        self._channels: dict[int, socket.socket] = {}
        wake_out, wake_in = os.pipe()
        os.set_blocking(wake_in, False)
        os.set_blocking(wake_out, False)
        self._wake = wake_out, wake_in
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        selector.register(wake_out, selectors.EVENT_READ, self.reap)

    def start(
        self,
        folder: str,
        ended: Callable[[int], object],
        *,
        output: str = "output",
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Have a process make the call in a task's folder.

        Args:
            folder: the task's folder.
            ended: called with the exit code; with 128 and a signal's number when that ended the process.
            output: file to which standard output and error are appended, seen from the task's folder.
            environment: the environment variables; None for those of this process.

        Returns:
            The process id.
        """
        pid = self._idle.pop() if self._idle else self._fork()
        self._busy[pid] = ended
        request = {"folder": folder, "output": output, "environment": dict(environment or os.environ)}
        try:
            self._channels[pid].sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            # It has just died, which `reap` tells.
            os.kill(os.getpid(), signal.SIGCHLD)
        return pid

    def _fork(self) -> int:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                ours.close()
                self._close_all()
                os.setsid()
                _make_calls(theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._channels[pid] = ours
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._answered(pid))
        return pid

    def _close_all(self) -> None:
        """Close in the child what is the server's: else nobody would see the end of a connection."""
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        os.close(self._wake[1])
        self._selector.close()

    def _answered(self, pid: int) -> None:
        try:
            code = self._channels[pid].recv(1)
        except OSError:
            code = b""
        if not code:
            self._selector.unregister(self._channels[pid])
            return
        self._idle.append(pid)
        self._busy.pop(pid)(code[0])

    def reap(self) -> None:
        """Tell of the processes that have ended."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake[0], 4096)
        while self._channels:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            channel = self._channels.pop(pid, None)
            if channel is None:
                continue
            if channel in self._selector.get_map():
                self._selector.unregister(channel)
            channel.close()
            if pid in self._idle:
                self._idle.remove(pid)
            ended = self._busy.pop(pid, None)
            if ended is not None:
                code = os.waitstatus_to_exitcode(status)
                ended(128 - code if code < 0 else code)

    def kill(self, pid: int) -> None:
        """Kill a process that makes a call, with all that it has started."""
        if pid in self._busy:
            _kill_session(pid)

    def kill_all(self) -> None:
        """Kill all processes."""
        for pid in self._channels:
            _kill_session(pid)


def _kill_session(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        # It has no session of its own yet.
        os.kill(pid, signal.SIGKILL)


def _make_calls(channel: socket.socket) -> None:
    with channel.makefile("rb") as requests:
        for line in requests:
            code = 0
            try:
                _make_call(**json.loads(line))
            except BaseException:  # noqa: BLE001 - told on its standard error; the engine sees the exit code
                sys.excepthook(*sys.exc_info())
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            channel.sendall(bytes([code]))


def _make_call(folder: str, output: str, environment: Mapping[str, str]) -> None:
    os.chdir(folder)
    for target, path, flags in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, target)
        os.close(opened)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(environment)
    run("call", "answer")


def _serve(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            # One that was ended by another's call is not there any more.
            if key.fd in selector.get_map():
                key.data()


# -- for ordinary tasks ----------------------------------------------------------------------------------------------


class WarmServer:
    """Serves the shell commands of tasks, see `cctools_command`.

    A request is a line: the token, the process id of the task's shell, its folder. The answer is a line with the exit
    code. A connection that closes before has its call killed.

    Args:
        folder: private folder into which port and token are written.
        worker: process id of the engine's worker.
    """

    def __init__(self, folder: str, worker: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._children = Children(self._selector)
        self._token = secrets.token_hex(16)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(os.pidfd_open(worker), selectors.EVENT_READ, self._end)
        unfinished = os.path.join(folder, "unfinished")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{self._listener.getsockname()[1]} {self._token}\n")
        os.replace(unfinished, os.path.join(folder, "address"))

    def serve(self) -> None:
        """Serve until the worker ends."""
        _serve(self._selector)

    def _end(self) -> None:
        self._children.kill_all()
        sys.exit(0)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        request = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(connection, request))

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()

    def _read(self, connection: socket.socket, request: bytearray) -> None:
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        request += data
        if not data or len(request) > _LARGEST_REQUEST:
            self._drop(connection)
        elif request.endswith(b"\n"):
            self._start(connection, request.decode(errors="surrogateescape"))

    def _start(self, connection: socket.socket, line: str) -> None:
        token, _, rest = line.rstrip("\n").partition(" ")
        shell, _, folder = rest.partition(" ")
        if not hmac.compare_digest(token.encode(errors="replace"), self._token.encode()):
            self._drop(connection)
            return
        try:
            environment = _environment_of(int(shell))
        except (OSError, ValueError):
            # The shell has been killed meanwhile.
            self._drop(connection)
            return
        pid = self._children.start(
            folder,
            lambda code: self._answer(connection, code),
            environment=environment,
        )
        self._selector.modify(connection, selectors.EVENT_READ, lambda: self._children.kill(pid))

    def _answer(self, connection: socket.socket, code: int) -> None:
        with contextlib.suppress(OSError):  # the task's shell may be gone
            connection.send(f"{code}\n".encode())
        self._drop(connection)


def _environment_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = [entry.partition(b"=") for entry in file.read().split(b"\0") if b"=" in entry]
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


# -- for TaskVine ----------------------------------------------------------------------------------------------------


class Library:
    r"""A library of TaskVine, with one function: the call in the task's folder.

    The worker writes `LENGTH\nID FUNCTION FOLDER OUTPUT` for a call, and reads `LENGTH\nID STATUS` for its end; a
    SIGCHLD has it look.

    Args:
        options: what the worker has started this process with.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._calls: int = options.in_pipe_fd
        self._answers: int = options.out_pipe_fd
        self._worker: int = options.worker_pid
        self._incoming = b""
        self._selector = selectors.DefaultSelector()
        self._children = Children(self._selector)
        self._selector.register(self._calls, selectors.EVENT_READ, self._read)
        self._tell(json.dumps({"name": COPROCESS, "taskid": options.task_id, "exec_mode": "fork"}))

    def serve(self) -> None:
        """Serve until the worker closes its pipe."""
        _serve(self._selector)

    def _tell(self, text: str) -> None:
        os.write(self._answers, f"{len(text)}\n{text}".encode())
        os.kill(self._worker, signal.SIGCHLD)

    def _read(self) -> None:
        data = os.read(self._calls, 65536)
        if not data:
            self._children.kill_all()
            sys.exit(0)
        self._incoming += data
        while b"\n" in self._incoming:
            length, _, rest = self._incoming.partition(b"\n")
            if len(rest) < int(length):
                return
            line, self._incoming = rest[: int(length)].decode(), rest[int(length) :]
            number, _, folder, output = line.split(" ", maxsplit=3)
            self._start(number, folder, output)

    def _start(self, number: str, folder: str, output: str) -> None:
        # The worker reads a wait status.
        self._children.start(folder, lambda code: self._tell(f"{number} {code << 8}"), output=os.path.abspath(output))


# -- for Work Queue --------------------------------------------------------------------------------------------------


class Coprocess:
    r"""A coprocess of Work Queue, with one function: the call in the task's folder.

    The worker connects to the port that it is told, writes `FUNCTION TASK LENGTH\nEVENT` for a call and reads
    `LENGTH\nANSWER` for its end.
    """

    def __init__(self) -> None:
        self._folder = os.getcwd()
        self._selector = selectors.DefaultSelector()
        self._children = Children(self._selector)
        self._listener = socket.create_server(("localhost", 0))
        text = json.dumps({"name": COPROCESS, "port": self._listener.getsockname()[1]})
        sys.stdout.write(f"{len(text)}\n{text}")
        sys.stdout.flush()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Serve until the worker ends this process."""
        _serve(self._selector)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        incoming = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(connection, incoming))

    def _read(self, connection: socket.socket, incoming: bytearray) -> None:
        data = connection.recv(65536)
        if not data:
            self._selector.unregister(connection)
            connection.close()
            return
        incoming += data
        header, newline, event = bytes(incoming).partition(b"\n")
        if not newline:
            return
        _, task, size = header.decode().split(" ")
        if len(event) >= int(size):
            del incoming[: len(header) + 1 + int(size)]
            folder = os.path.join(self._folder, f"t.{task}")
            self._children.start(folder, lambda code: self._answer(connection, code))

    def _answer(self, connection: socket.socket, code: int) -> None:
        text = json.dumps({"Result": code, "StatusCode": 200 if code == 0 else 500})
        connection.sendall(f"{len(text)}\n{text}".encode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", nargs=2, metavar=("FOLDER", "WORKER"))
    parser.add_argument("--coprocess", action="store_true")
    for name in ("--in-pipe-fd", "--out-pipe-fd", "--task-id", "--library-cores", "--function-slots", "--worker-pid"):
        parser.add_argument(name, type=int, default=-1)
    return parser.parse_args()


def main() -> None:
    """Serve in the way that the command line says."""
    options = _options()
    server: Any
    if options.warm:
        server = WarmServer(options.warm[0], int(options.warm[1]))
    elif options.coprocess:
        server = Coprocess()
    else:
        server = Library(options)
    server.serve()


if __name__ == "__main__":
    # By its name, so that the classes are those of the imported module.
    from parsl.executors.cctools_server import main as _main

    _main()
