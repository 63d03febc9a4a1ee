"""A stand-in for the Globus Compute service and one endpoint: its HTTP interface, and results over AMQP.

It is written after what the SDK's own client (4.19) sends and reads. Functions run in a pool of processes, packed and
unpacked by the SDK's serializer.
"""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from queue import SimpleQueue
from typing import Any

import pika.frame
import pika.spec
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Result, ResultErrorDetails
from globus_compute_sdk.serialize import ComputeSerializer

FRAME_MAX = 131072


def run_task(function: str, payload: str) -> str:
    """Run a task, as an endpoint's worker does."""
    serializer = ComputeSerializer()
    (packed,) = serializer.unpack_buffers(function)
    args, kwargs = (serializer.deserialize(part) for part in serializer.unpack_buffers(payload))
    return str(serializer.serialize(serializer.deserialize(packed)(*args, **kwargs)))


class Service:
    """What the service knows: functions, and for each task group the results that wait for a consumer."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.functions: dict[str, str] = {}
        self.queues: dict[str, SimpleQueue[bytes | None]] = {}
        self.submissions: list[dict[str, Any]] = []
        self.pool = self._new_pool()
        self.lock = threading.Lock()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"))

    def queue(self, group: str) -> SimpleQueue[bytes | None]:
        with self.lock:
            return self.queues.setdefault(group, SimpleQueue())

    def submit(self, endpoint: str, request: dict[str, Any]) -> dict[str, Any]:
        self.submissions.append(request)
        group = request.get("task_group_id") or str(uuid.uuid4())
        ids: dict[str, list[str]] = {}
        for function, payloads in request["tasks"].items():
            for payload in payloads:
                task = str(uuid.uuid4())
                ids.setdefault(function, []).append(task)
                self._run(task, group, self.functions[function], payload)
        return {"tasks": ids, "task_group_id": group, "request_id": str(uuid.uuid4()), "endpoint_id": endpoint}

    def _run(self, task: str, group: str, function: str, payload: str) -> None:
        try:
            future = self.pool.submit(run_task, function, payload)
        except Exception:
            self.pool.shutdown()
            self.pool = self._new_pool()
            future = self.pool.submit(run_task, function, payload)
        future.add_done_callback(lambda f: self._ended(task, group, f))

    def _ended(self, task: str, group: str, future: Future[str]) -> None:
        error = future.exception()
        if error is None:
            result = Result(task_id=uuid.UUID(task), data=future.result())
        else:
            details = ResultErrorDetails(code="RemoteExecutionError", user_message=str(error))
            result = Result(task_id=uuid.UUID(task), data=str(error), error_details=details)
        self.queue(group).put(messagepack.pack(result))


class Handler(BaseHTTPRequestHandler):
    """The HTTP interface."""

    service: Service
    amqp: str

    def do_GET(self) -> None:
        if self.path.startswith("/v2/version"):
            self._answer({"api": "1.0.0", "min_ep_version": "1.0.0", "min_sdk_version": "1.0.0"})
        elif self.path == "/v2/get_amqp_result_connection_url":
            self._answer({"queue_prefix": "", "connection_url": self.amqp})
        else:
            self._answer({"code": "NOT_FOUND", "reason": self.path}, 404)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = self.path.strip("/").split("/")
        if self.path == "/v3/functions":
            function = str(uuid.uuid4())
            self.service.functions[function] = request["function_code"]
            self._answer({"function_uuid": function})
        elif parts[:2] == ["v3", "endpoints"] and parts[3] == "submit":
            self._answer(self.service.submit(parts[2], request))
        else:
            self._answer({"code": "NOT_FOUND", "reason": self.path}, 404)

    def _answer(self, content: Any, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Consumer:
    """One AMQP connection: a channel that consumes the queue of a task group."""

    def __init__(self, service: Service, connection: socket.socket) -> None:
        self._service = service
        self._connection = connection
        self._lock = threading.Lock()
        self._queue: SimpleQueue[bytes | None] | None = None

    def serve(self) -> None:
        data = b""
        with self._connection:
            while chunk := self._connection.recv(65536):
                data += chunk
                while True:
                    used, frame = pika.frame.decode_frame(data)
                    if frame is None:
                        break
                    data = data[used:]
                    self._handle(frame)
            if self._queue is not None:
                self._queue.put(None)

    def _send(self, channel: int, *methods: Any) -> None:
        with self._lock:
            for method in methods:
                self._connection.sendall(pika.frame.Method(channel, method).marshal())

    def _handle(self, frame: Any) -> None:
        spec = pika.spec
        if isinstance(frame, pika.frame.ProtocolHeader):
            self._send(0, spec.Connection.Start(0, 9, server_properties={}, mechanisms="PLAIN", locales="en_US"))
            return
        method = getattr(frame, "method", None)
        answers = {
            spec.Connection.StartOk: spec.Connection.Tune(channel_max=10, frame_max=FRAME_MAX, heartbeat=0),
            spec.Connection.Open: spec.Connection.OpenOk(),
            spec.Channel.Open: spec.Channel.OpenOk(),
            spec.Channel.Close: spec.Channel.CloseOk(),
            spec.Connection.Close: spec.Connection.CloseOk(),
        }
        if type(method) in answers:
            self._send(frame.channel_number, answers[type(method)])
        elif isinstance(method, spec.Basic.Consume):
            tag = method.consumer_tag or "consumer"
            self._send(frame.channel_number, spec.Basic.ConsumeOk(tag))
            self._queue = self._service.queue(method.queue)
            threading.Thread(target=self._deliver, args=(frame.channel_number, tag), daemon=True).start()

    def _deliver(self, channel: int, tag: str) -> None:
        assert self._queue is not None
        number = 0
        while (body := self._queue.get()) is not None:
            number += 1
            frames = [
                pika.frame.Method(channel, pika.spec.Basic.Deliver(tag, number, False, "", "results")),
                pika.frame.Header(channel, len(body), pika.spec.BasicProperties()),
            ]
            step = FRAME_MAX - 8
            frames += [pika.frame.Body(channel, body[i : i + step]) for i in range(0, len(body), step)]
            with self._lock:
                self._connection.sendall(b"".join(f.marshal() for f in frames))


@contextmanager
def running(workers: int) -> Iterator[tuple[Service, str]]:
    """Run the service; give it and its address."""
    service = Service(workers)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=Consumer(service, connection).serve, daemon=True).start()

    amqp = f"amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}/%2F"
    handler = type("BoundHandler", (Handler,), {"service": service, "amqp": amqp})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=accept, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield service, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        listener.close()
        service.pool.shutdown()
