from __future__ import annotations

import errno
import os
import socket
import threading
from queue import SimpleQueue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput import streams
from parsl.executors.high_throughput.streams import LENGTH, Listener, Stream, connect
from parsl.loop import Loop

SECONDS = 20


class End:
    """One end of a stream on a loop, and the bare socket at the other end."""

    def __init__(self, loop):
        self.loop = loop
        ours, self.bare = socket.socketpair()
        self.bare.settimeout(SECONDS)
        self.heard = SimpleQueue()
        self.ends = SimpleQueue()
        self.stream = loop.call(Stream, loop, ours, self.received, lambda: self.ends.put("end"))

    def received(self, data):
        if bytes(data) == b"fault":
            raise ValueError("a fault in the reader")
        self.heard.put(bytes(data))

    def send(self, data):
        return self.loop.call(self.stream.send, [data])

    def hear(self):
        return self.heard.get(timeout=SECONDS)

    def close(self, linger=0):
        self.loop.call(self.stream.close, linger)
        self.bare.close()


@pytest.fixture
def end(loop):
    end = End(loop)
    yield end
    end.close()


def framed(*messages):
    return b"".join(LENGTH.pack(len(m)) + m for m in messages)


def read_framed(bare):
    def exactly(size):
        parts = bytearray()
        while len(parts) < size:
            part = bare.recv(size - len(parts))
            assert part, "the other side has closed"
            parts += part
        return bytes(parts)

    return exactly(LENGTH.unpack(exactly(LENGTH.size))[0])


def test_messages_both_ways(end):
    for data in (b"one", b"", b"x" * 100_000):
        end.bare.sendall(framed(data))
        assert end.hear() == data
        assert end.send(data) is True
        assert read_framed(end.bare) == data


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 60), max_size=20))
def test_messages_come_whole_however_their_bytes_are_cut(messages, cuts):
    loop = Loop("fed by hand")
    heard = []
    ours, bare = socket.socketpair()
    stream = Stream(loop, ours, lambda data: heard.append(bytes(data)), lambda: None)
    rest = framed(*messages)
    for cut in [*cuts, len(rest)]:
        stream._incoming += rest[:cut]
        stream._hand_over()
        rest = rest[cut:]
    assert heard == messages
    stream.close()
    bare.close()
    loop.stop()
    loop.run()


def test_byte_by_byte(end):
    for byte in framed(b"slow", b"er"):
        end.bare.sendall(bytes([byte]))
    assert [end.hear(), end.hear()] == [b"slow", b"er"]


def test_a_message_that_cannot_be_handled_holds_up_no_other(end, caplog):
    end.bare.sendall(framed(b"a", b"fault", b"b"))
    assert [end.hear(), end.hear()] == [b"a", b"b"]
    assert "A message of 5 bytes could not be handled" in caplog.text


def test_what_the_other_side_does_not_read_waits_and_keeps_its_order(end):
    messages = [bytes([n]) * 700_000 for n in range(30)]
    for message in messages:
        assert end.send(message) is True
    end.bare.sendall(framed(b"still listening"))
    assert end.hear() == b"still listening"
    for message in messages:
        assert read_framed(end.bare) == message
    assert end.send(b"last") is True
    assert read_framed(end.bare) == b"last"


def test_the_end_is_told_once_after_all_that_was_said(end):
    end.bare.sendall(framed(b"one", b"two") + b"\x07\0")
    end.bare.close()
    assert end.ends.get(timeout=SECONDS) == "end"
    assert [end.heard.get_nowait(), end.heard.get_nowait()] == [b"one", b"two"]
    end.loop.call(lambda: None)
    assert end.ends.empty()


def test_sending_to_one_that_is_gone(end):
    end.bare.close()
    assert end.ends.get(timeout=SECONDS) == "end"
    results = [end.send(b"x" * 1000) for _ in range(3)]
    assert results[-1] is False


def test_sending_after_closing(loop):
    end = End(loop)
    end.close()
    assert end.stream.closed
    assert end.send(b"x") is False
    end.close()


@pytest.mark.parametrize("taken", [True, False])
def test_closing_gives_what_waits_some_time(loop, taken):
    end = End(loop)
    messages = [bytes([n]) * 700_000 for n in range(20)]
    for message in messages:
        end.send(message)
    got = []
    reader = threading.Thread(target=lambda: got.extend(read_framed(end.bare) for _ in messages))
    if taken:
        reader.start()
    loop.call(end.stream.close, SECONDS * 1000 if taken else 10)
    if taken:
        reader.join(SECONDS)
        assert got == messages
    end.bare.close()


def test_all_that_has_arrived_can_be_read_at_once(loop):
    ours, bare = socket.socketpair()
    heard, ends = [], []

    def drain():
        stream = Stream(loop, ours, lambda data: heard.append(bytes(data)), lambda: ends.append(1))
        stream.drain()
        stream.close()

    bare.sendall(framed(*[b"%d" % n for n in range(20_000)][:9000]))
    bare.close()
    loop.call(drain)
    assert heard == [b"%d" % n for n in range(9000)]
    assert ends == [1]


# -- listening ---------------------------------------------------------------------------------------------------------


def test_connections_are_accepted_until_the_listener_closes(loop, tmp_path):
    accepted = SimpleQueue()
    path = str(tmp_path / "socket")
    listener = loop.call(Listener, loop, path, accepted.put)
    clients = [connect(path) for _ in range(3)]
    servers = [accepted.get(timeout=SECONDS) for _ in clients]
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number)
    assert sorted(s.recv(10) for s in servers) == [b"0", b"1", b"2"]
    loop.call(listener.close)
    assert not os.path.exists(path)
    assert connect(path) is None
    for s in (*clients, *servers):
        s.close()


def test_nobody_listens(tmp_path):
    assert connect(str(tmp_path / "nothing")) is None
    (tmp_path / "file").write_text("")
    assert connect(str(tmp_path / "file")) is None
    assert connect("/" + "x" * 200) is None


class NoDescriptors:
    """A listening socket on a system that has no descriptor to spare for the first attempts."""

    def __init__(self, real, attempts):
        self._real = real
        self.attempts = attempts

    def accept(self):
        if self.attempts:
            self.attempts -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._real.accept()

    def __getattr__(self, name):
        return getattr(self._real, name)


def test_a_listener_without_descriptors_pauses_and_goes_on(loop, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(streams, "_PAUSE_SECONDS", 0.1)
    accepted = SimpleQueue()
    listener = loop.call(Listener, loop, str(tmp_path / "l"), accepted.put)
    real = listener._socket
    listener._socket = NoDescriptors(real, 2)
    client = connect(str(tmp_path / "l"))
    accepted.get(timeout=SECONDS).close()
    client.close()
    # Once for each attempt, and none in between.
    assert caplog.text.count("could not be accepted") == 2
    loop.call(listener.close)


def test_a_listener_that_is_closed_during_its_pause_stays_closed(loop, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_PAUSE_SECONDS", 0.05)
    listener = loop.call(Listener, loop, str(tmp_path / "l"), lambda _: None)
    paused = SimpleQueue()
    real = listener._socket
    listener._socket = NoDescriptors(real, 1)
    resume = listener._resume
    listener._resume = lambda: paused.put(resume())
    loop.call(lambda: listener._accept() or listener.close())
    paused.get(timeout=SECONDS)
    assert real.fileno() < 0
