"""A server on loopback that answers a cloud's REST interface the way a test says."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    verb: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class Answer:
    """Text goes out as it is, anything else as JSON."""

    status: int
    body: Any = field(default_factory=dict)


@dataclass
class Server:
    url: str
    requests: list[Request]

    def sent(self, verb: str) -> list[Request]:
        return [request for request in self.requests if request.verb == verb]


@contextlib.contextmanager
def serve(answer: Callable[[Request], Answer]) -> Iterator[Server]:
    """Serve until the end of the block; requests are answered one at a time and kept."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[-1] for key, values in parse_qs(address.query).items()}
            request = Request(self.command, address.path, query, json.loads(body) if body else None)
            with lock:
                server.requests.append(request)
                answered = answer(request)
            text = answered.body if isinstance(answered.body, str) else json.dumps(answered.body)
            self.send_response(answered.status)
            self.send_header("Content-Type", "text/plain" if isinstance(answered.body, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class has that name
            pass

    class Threads(ThreadingHTTPServer):
        daemon_threads = False  # so that closing waits for them

    with Threads(("127.0.0.1", 0), Handler) as httpd:
        server = Server(f"http://127.0.0.1:{httpd.server_port}", [])
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()
