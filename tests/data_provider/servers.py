"""Servers of this process for tests of staging: HTTP and FTP on loopback, with faults to order."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USER, PASSWORD = "user", "se:cr@t"
QUOTED = "user:se%3Acr%40t"


class Faults:
    """What is to go wrong in the next requests, one after another; nothing when the list is empty.

    Attributes:
        planned: 'cut' (half of the file, then the connection is closed), 'drop' (closed before an answer), 'longer'
            (a wrong length is announced), or a number: that status.
        seen: the requests, as method and path.
        allowed: one more permit for each file that is begun, when a test holds transfers up; None holds none up.
    """

    def __init__(self) -> None:
        self.planned: deque[str | int] = deque()
        self.seen: list[tuple[str, str]] = []
        self.allowed: threading.Semaphore | None = None

    def next(self) -> str | int | None:
        return self.planned.popleft() if self.planned else None

    def of(self, method: str) -> list[str]:
        return [path for m, path in self.seen if m == method]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False  # waited for at the end

    def __init__(self, handler: Any, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.root = root
        self.faults = Faults()
        self.port = self.server_address[1]
        self._connections: set[socket.socket] = set()

    def get_request(self) -> Any:
        connection, address = super().get_request()
        connection.settimeout(20)
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what tests are about."""

    def hang_up(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refused(self) -> bool:
        """Answer what is not an ordinary request; tell whether that was one."""
        self.server.faults.seen.append((self.command, self.path))
        self.fault = self.server.faults.next()
        if self.fault == "drop":
            self.close_connection = True
            return True
        if isinstance(self.fault, int):
            self._answer(self.fault)
            return True
        first, _, rest = self.path.lstrip("/").partition("/")
        if first == "redirect":
            self._answer(302, Location=f"/{rest}")
            return True
        if first == "auth":
            if self.headers.get("Authorization") != "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
                self._answer(401, WWW_Authenticate='Basic realm="x"')
                return True
            self.path = f"/{rest}"
        return False

    def _file(self) -> Path:
        from urllib.parse import unquote

        return self.server.root / unquote(self.path.partition("?")[0]).lstrip("/")

    def do_GET(self) -> None:
        if self._refused():
            return
        chunked = self.path.startswith("/chunked/")
        if chunked:
            self.path = self.path.removeprefix("/chunked")
        path = self._file()
        if not path.is_file():
            self._answer(404)
            return
        size = path.stat().st_size
        if self.server.faults.allowed is not None:
            self.server.faults.allowed.acquire(timeout=20)
        self.send_response(200)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(size + 7 if self.fault == "longer" else size))
        self.end_headers()
        left = size // 2 if self.fault == "cut" else size
        self.close_connection = self.fault is not None
        with open(path, "rb") as file:
            while left and (data := file.read(min(left, 1 << 16))):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
                left -= len(data)
        if chunked and self.fault is None:
            self.wfile.write(b"0\r\n\r\n")

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        with tempfile.TemporaryFile() as body:
            while left and (data := self.rfile.read(min(left, 1 << 16))):
                left -= len(data)
                body.write(data)
            if self._refused():
                return
            body.seek(0)
            with open(self._file(), "wb") as file:
                shutil.copyfileobj(body, file)
        self._answer(201)


class _Ftp(socketserver.StreamRequestHandler):
    """The commands of RFC 959 that a client needs which transfers files in passive mode."""

    server: _Server

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def handle(self) -> None:
        self.user, self.renamed, self.data = "", Path(), None
        self.say("220 test")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            command, _, argument = line.partition(" ")
            self.server.faults.seen.append((command, argument))
            if command == "QUIT":
                self.say("221 bye")
                break
            getattr(self, f"do_{command}", lambda _: self.say("502 no such command"))(argument)
        self.close_data()

    def close_data(self) -> None:
        if self.data is not None:
            self.data.close()
            self.data = None

    def path(self, argument: str) -> Path:
        return self.server.root / argument.lstrip("/")

    def do_USER(self, name: str) -> None:
        self.user = name
        self.say("331 password")

    def do_PASS(self, password: str) -> None:
        good = self.user == "anonymous" or (self.user, password) == (USER, PASSWORD)
        self.say("230 hello" if good else "530 wrong user or password")

    def do_TYPE(self, _: str) -> None:
        self.say("200 binary")

    def do_SIZE(self, name: str) -> None:
        path = self.path(name)
        self.say(f"213 {path.stat().st_size}" if path.is_file() else "550 no such file")

    def do_PASV(self, _: str) -> None:
        self.data = socket.create_server(("127.0.0.1", 0))
        self.data.settimeout(20)
        port = self.data.getsockname()[1]
        self.say(f"227 Entering Passive Mode (127,0,0,1,{port >> 8},{port & 255})")

    def do_EPSV(self, _: str) -> None:
        self.data = socket.create_server(("127.0.0.1", 0))
        self.data.settimeout(20)
        self.say(f"229 Entering Extended Passive Mode (|||{self.data.getsockname()[1]}|)")

    def do_RETR(self, name: str) -> None:
        fault = self.server.faults.next()
        path = self.path(name)
        if isinstance(fault, int):
            self.say(f"{fault} not now")
        elif not path.is_file():
            self.say("550 no such file")
        else:
            self.say("150 here it comes")
            with self.data.accept()[0] as connection, open(path, "rb") as file:
                size = path.stat().st_size
                connection.sendfile(file, count=size // 2 if fault == "cut" else size or None)
            self.say("226 done")
        self.close_data()

    def do_STOR(self, name: str) -> None:
        fault = self.server.faults.next()
        if isinstance(fault, int):
            self.say(f"{fault} no")
            self.close_data()
            return
        self.say("150 go on")
        with (
            self.data.accept()[0] as connection,
            connection.makefile("rb") as stream,
            open(self.path(name), "wb") as file,
        ):
            shutil.copyfileobj(stream, file)
            if fault == "cut":
                file.truncate(file.tell() // 2)
        self.say("226 done")
        self.close_data()

    def do_RNFR(self, name: str) -> None:
        self.renamed = self.path(name)
        self.say("350 to what")

    def do_RNTO(self, name: str) -> None:
        self.renamed.rename(self.path(name))
        self.say("250 done")

    def do_DELE(self, name: str) -> None:
        self.path(name).unlink()
        self.say("250 done")


@contextlib.contextmanager
def _serving(handler: Any, root: Path) -> Iterator[_Server]:
    root.mkdir(exist_ok=True)
    with _Server(handler, root) as server:  # leaving it waits for the threads of the connections
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.hang_up()


def http_server(root: Path) -> contextlib.AbstractContextManager[_Server]:
    return _serving(_Http, root)


def ftp_server(root: Path) -> contextlib.AbstractContextManager[_Server]:
    return _serving(_Ftp, root)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def files_in(folder: Path) -> set[str]:
    """Name all files below a folder, hidden ones too."""
    return {os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names}
