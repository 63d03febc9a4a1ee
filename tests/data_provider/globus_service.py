"""A stand-in of Globus for tests: the parts of its Auth and Transfer APIs that staging uses, on loopback.

globus_sdk's own clients talk to it, as the environment variables GLOBUS_SDK_SERVICE_URL_* send them here. Its two
collections are folders; a transfer copies between them when the test says so.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

HERE, THERE = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


class Globus:
    """What the service knows.

    Attributes:
        folders: the collections.
        tasks: the documents about transfers, by id.
        requests: method and path of each request.
        hold: transfers stay ACTIVE until `finish`.
        failing: status codes of the next answers.
    """

    def __init__(self, folder: Path) -> None:
        self.folders = {HERE: folder / "here", THERE: folder / "there"}
        for place in self.folders.values():
            place.mkdir(parents=True)
        self.tasks: dict[str, dict[str, Any]] = {}
        self.data: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.hold = False
        self.failing: list[int] = []
        self.asked_after = threading.Event()

    def submit(self, data: dict[str, Any]) -> str:
        task_id = str(uuid.uuid4())
        self.data[task_id] = data
        self.tasks[task_id] = {"task_id": task_id, "status": "ACTIVE", "nice_status": "Queued", "label": data["label"]}
        if not self.hold:
            self.finish(task_id)
        return task_id

    def finish(self, task_id: str) -> None:
        data = self.data[task_id]
        for item in data["DATA"]:
            source = self.folders[data["source_endpoint"]] / item["source_path"].lstrip("/")
            target = self.folders[data["destination_endpoint"]] / item["destination_path"].lstrip("/")
            if not source.exists():
                self.tasks[task_id].update(nice_status="FILE_NOT_FOUND", nice_status_short_description="no such file")
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        self.tasks[task_id].update(status="SUCCEEDED", nice_status=None)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection for each request, so that none stays open
    globus: Globus

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, document: Any, code: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = urlsplit(self.path).path
        self.globus.requests.append(("POST", path))
        if path == "/v2/oauth2/token":
            self.answer(self.token(parse_qs(body)))
        elif self.headers.get("Authorization") != "Bearer good":
            self.answer({"code": "AuthenticationFailed", "message": "no token"}, 401)
        elif self.globus.failing:
            self.answer({"code": "ServiceUnavailable", "message": "not now"}, self.globus.failing.pop(0))
        elif path.endswith("/transfer"):
            data = json.loads(body)
            if data["source_endpoint"] not in self.globus.folders:
                self.answer({"code": "EndpointNotFound", "message": "no such collection"}, 404)
                return
            self.answer({"task_id": self.globus.submit(data), "code": "Accepted", "message": "ok"}, 202)
        elif cancelled := re.fullmatch(r".*/task/([\w-]+)/cancel", path):
            self.globus.tasks[cancelled[1]]["status"] = "FAILED"
            self.answer({"code": "Canceled", "message": "ok"})
        else:
            self.answer({"code": "NotFound", "message": path}, 404)

    def token(self, form: dict[str, list[str]]) -> dict[str, Any]:
        scope = re.sub(r"\[.*?\]", "", form["scope"][0])  # consents to more are not scopes of the token
        server = "transfer.api.globus.org"
        return {
            "access_token": "good",
            "scope": scope,
            "expires_in": 172800,
            "token_type": "Bearer",
            "resource_server": server,
            "other_tokens": [],
        }

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.globus.requests.append(("GET", parts.path))
        if parts.path.endswith("/submission_id"):
            self.answer({"value": str(uuid.uuid4())})
        elif self.globus.failing:
            self.answer({"code": "ServiceUnavailable", "message": "not now"}, self.globus.failing.pop(0))
        elif parts.path.endswith("/task_list"):
            (wanted,) = re.findall(r"task_id:([\w,-]+)", parse_qs(parts.query)["filter"][0])
            documents = [self.globus.tasks[task_id] for task_id in wanted.split(",")]
            self.answer({"DATA": documents, "total": len(documents), "offset": 0, "limit": 50})
            self.globus.asked_after.set()
        else:
            self.answer({"code": "NotFound", "message": parts.path}, 404)


@contextlib.contextmanager
def globus_service(folder: Path) -> Iterator[tuple[Globus, str]]:
    """Give the stand-in and its URL."""
    globus = Globus(folder)
    handler = type("Handler", (_Handler,), {"globus": globus})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield globus, f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
