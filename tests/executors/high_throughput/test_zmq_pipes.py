from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest
import zmq

from parsl.executors.high_throughput.zmq_pipes import Pipe

SECONDS = 20


@pytest.fixture
def context():
    with zmq.Context() as context:
        yield context


class Server:
    """A ROUTER on the loop, as the interchange has one."""

    def __init__(self, loop, context, received):
        self.loop = loop
        socket = context.socket(zmq.ROUTER)
        self.port = socket.bind_to_random_port("tcp://127.0.0.1")
        self.pipe = loop.call(Pipe, loop, socket, received)

    def send(self, frames):
        return self.loop.call(self.pipe.send, frames)

    def close(self):
        self.loop.call(self.pipe.close)


@pytest.fixture
def arrived():
    return SimpleQueue()


@pytest.fixture
def server(loop, context, arrived):
    server = Server(loop, context, arrived.put)
    yield server
    server.close()


@pytest.fixture
def client(context, server):
    """A DEALER in the test's own thread."""
    with context.socket(zmq.DEALER) as client:
        client.set_hwm(0)
        client.linger = 0
        client.rcvtimeo = client.sndtimeo = SECONDS * 1000
        client.setsockopt(zmq.IDENTITY, b"me")
        client.connect(f"tcp://127.0.0.1:{server.port}")
        yield client


def test_frames_come_whole_and_in_order(client, arrived):
    client.send_multipart([b"one"])
    client.send_multipart([b"two", b"", b"x" * 500_000])
    assert arrived.get(timeout=SECONDS) == [b"me", b"one"]
    assert arrived.get(timeout=SECONDS) == [b"me", b"two", b"", b"x" * 500_000]


def test_a_flood_is_read_to_its_end(client, arrived):
    for number in range(5000):
        client.send(b"%d" % number)
    assert [arrived.get(timeout=SECONDS)[1] for _ in range(5000)] == [b"%d" % n for n in range(5000)]


def test_the_loop_does_other_things_during_a_flood(loop, context):
    done = threading.Event()
    seen = []

    def received(frames):
        seen.append(frames)
        if len(seen) == 1:
            loop.post(other)

    def other():
        seen_at_that_time.append(len(seen))
        done.set()

    seen_at_that_time = []
    hold, held = threading.Event(), threading.Event()

    def wait():
        held.set()
        hold.wait(SECONDS)

    server = Server(loop, context, received)
    with context.socket(zmq.DEALER) as client:
        client.set_hwm(0)
        client.connect(f"tcp://127.0.0.1:{server.port}")
        client.send(b"first")
        loop.post(wait)
        assert held.wait(SECONDS)
        for _ in range(10_000):
            client.send(b"x")
        hold.set()
        assert done.wait(SECONDS)
        assert seen_at_that_time[0] < 10_001
        server.close()
        client.close(0)


@pytest.mark.parametrize("size", [1, 100_000])
def test_answers_that_are_sent_while_more_arrives(loop, context, size):
    """zmq's descriptor tells of a change once; sending may use that up, and no message may be left lying."""
    echo = Server(loop, context, lambda frames: echo.pipe.send(frames))  # noqa: PLW0108 - made here
    with context.socket(zmq.DEALER) as client:
        client.set_hwm(0)
        client.linger = 0
        client.rcvtimeo = SECONDS * 1000
        client.connect(f"tcp://127.0.0.1:{echo.port}")
        count, ahead = (2000, 3) if size == 1 else (60, 3)
        for number in range(ahead):
            client.send(b"%d" % number * size)
        for number in range(count):
            assert client.recv() == b"%d" % number * size
            if number + ahead < count:
                client.send(b"%d" % (number + ahead) * size)
    echo.close()


def test_a_message_that_cannot_be_handled_holds_up_no_other(loop, context, caplog):
    good = SimpleQueue()

    def received(frames):
        if frames[1] == b"bad":
            raise ValueError("a fault in the reader")
        good.put(frames[1])

    server = Server(loop, context, received)
    with context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.connect(f"tcp://127.0.0.1:{server.port}")
        for text in (b"a", b"bad", b"b"):
            client.send(text)
        assert [good.get(timeout=SECONDS), good.get(timeout=SECONDS)] == [b"a", b"b"]
    server.close()
    assert "A message of 2 frames could not be handled" in caplog.text


def test_large_frames_are_sent_without_a_copy_and_may_be_dropped_after(server, client, arrived):
    client.send(b"hello")
    assert arrived.get(timeout=SECONDS) == [b"me", b"hello"]
    body = bytearray(b"y" * 1_000_000)
    assert server.send([b"me", b"small", body]) is True
    del body
    assert client.recv_multipart() == [b"small", b"y" * 1_000_000]


def test_nobody_there(server, loop, context, caplog):
    assert server.send([b"stranger", b"x"]) is True, "a ROUTER drops what is for nobody"
    pair = context.socket(zmq.PAIR)
    pair.linger = 0
    pipe = loop.call(Pipe, loop, pair, lambda frames: None)
    assert loop.call(pipe.send, [b"x"]) is False
    assert "could not be sent" in caplog.text
    loop.call(pipe.close)


def test_the_last_messages_leave_before_the_end(server, client, arrived):
    client.send(b"hello")
    arrived.get(timeout=SECONDS)
    for number in range(100):
        server.send([b"me", b"%d" % number])
    server.loop.call(server.pipe.close, 5000)
    assert [client.recv() for _ in range(100)] == [b"%d" % n for n in range(100)]


def test_a_reader_may_close_the_pipe(loop, context):
    closed = threading.Event()

    def received(frames):
        server.pipe.close()
        closed.set()

    server = Server(loop, context, received)
    with context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.connect(f"tcp://127.0.0.1:{server.port}")
        client.send(b"one")
        client.send(b"two")
        assert closed.wait(SECONDS)
    assert loop.call(lambda: "the loop lives") == "the loop lives"
