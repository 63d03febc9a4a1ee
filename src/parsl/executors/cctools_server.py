"""A Python on an engine's worker that stays: it forks for each call, which saves the start of Python and its imports.

It is reached in one of three ways, by the command line that it is started with:

- `--warm FOLDER WORKER`: on a port of this host that it writes into FOLDER; the shell commands of ordinary tasks connect
  there. It ends when the process WORKER does.
- `--coprocess`: as a coprocess of Work Queue.
- with the options that TaskVine gives the process of a library: as such a library.
"""

from __future__ import annotations

import argparse
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
    """The calls that run, each in a process and session of its own.

    Args:
        selector: what this process waits on.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._ended: dict[int, Callable[[int], object]] = {}
        wake_out, wake_in = os.pipe()
        os.set_blocking(wake_in, False)
        os.set_blocking(wake_out, False)
        self._wake = wake_out, wake_in
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        selector.register(wake_out, selectors.EVENT_READ, self.reap)

    def start(
        self, folder: str, ended: Callable[[int], object], *, output: str, environment: Mapping[str, str] | None = None
    ) -> int:
        """Fork a process that makes the call in a task's folder.

        Args:
            folder: the task's folder.
            ended: called with the wait status of the process.
            output: file to which its standard output and error are appended, seen from the task's folder.
            environment: its environment variables; None for those of this process.
        """
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._close_all()
                _make_call(folder, output, environment)
                status = 0
            except BaseException:  # noqa: BLE001 - told on its standard error; the engine sees the exit code
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        self._ended[pid] = ended
        return pid

    def _close_all(self) -> None:
        """Close in the child what is the server's: else nobody would see the end of a connection."""
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        os.close(self._wake[1])
        self._selector.close()

    def reap(self) -> None:
        """Tell of the processes that have ended."""
        try:
            os.read(self._wake[0], 4096)
        except BlockingIOError:
            pass
        while self._ended:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            ended = self._ended.pop(pid, None)
            if ended is not None:
                ended(status)

    def kill(self, pid: int) -> None:
        """Kill a call that runs, with all that it has started."""
        if pid in self._ended:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                # It has no session of its own yet.
                os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill all calls that run."""
        for pid in list(self._ended):
            self.kill(pid)


def _make_call(folder: str, output: str, environment: Mapping[str, str] | None) -> None:
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(written, 1)
    os.dup2(written, 2)
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    run("call", "answer")
    sys.stdout.flush()
    sys.stderr.flush()


def _serve(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            # One that was ended by another's call is not there any more.
            if key.fd in selector.get_map():
                key.data()


def exit_code(status: int) -> int:
    """Return a wait status as a shell tells it: 128 and the signal's number for one that was ended by a signal."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


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
            lambda status: self._answer(connection, status),
            output="output",
            environment=environment,
        )
        self._selector.modify(connection, selectors.EVENT_READ, lambda: self._children.kill(pid))

    def _answer(self, connection: socket.socket, status: int) -> None:
        try:
            connection.send(f"{exit_code(status)}\n".encode())
        except OSError:
            pass  # the task's shell is gone
        self._drop(connection)


def _environment_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = [entry.partition(b"=") for entry in file.read().split(b"\0") if b"=" in entry]
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


# -- for TaskVine ----------------------------------------------------------------------------------------------------


class Library:
    """A library of TaskVine, with one function: the call in the task's folder.

    The worker writes `LENGTH\\nID FUNCTION FOLDER OUTPUT` for a call, and reads `LENGTH\\nID STATUS` for its end; a
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
        self._children.start(folder, lambda status: self._tell(f"{number} {status}"), output=os.path.abspath(output))


# -- for Work Queue --------------------------------------------------------------------------------------------------


class Coprocess:
    """A coprocess of Work Queue, with one function: the call in the task's folder.

    The worker connects to the port that it is told, writes `FUNCTION TASK LENGTH\\nEVENT` for a call and reads
    `LENGTH\\nANSWER` for its end.
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
            self._children.start(folder, lambda status: self._answer(connection, status), output="output")

    def _answer(self, connection: socket.socket, status: int) -> None:
        code = exit_code(status)
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
