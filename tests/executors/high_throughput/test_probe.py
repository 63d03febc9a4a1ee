from __future__ import annotations

import socket
import sys
import time

import pytest

from parsl.executors.high_throughput import probe
from parsl.executors.high_throughput.probe import UnreachableError, probe_addresses


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def closed_port():
    """A port that nobody listens on and nobody else gets while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def deaf(listener):
    """A port at which connections are neither taken nor refused: the queue of its listener is full."""
    if sys.platform != "linux":
        pytest.skip("a full queue refuses connections here")
    listener.listen(0)
    address = listener.getsockname()
    clients = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(address)
        clients.append(client)
    yield address[1]
    for client in clients:
        client.close()


def port_of(server):
    return server.getsockname()[1]


def test_the_address_that_answers(listener):
    assert probe_addresses(["127.0.0.1"], port_of(listener), 5) == "127.0.0.1"


def test_the_one_that_answers_among_others(listener):
    addresses = ["no-such-host.invalid", "127.0.0.2", "::1", "127.0.0.1"]
    assert probe_addresses(addresses, port_of(listener), 5) == "127.0.0.1"


def test_a_name_stands_for_all_its_addresses(listener, monkeypatch):
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port_of(listener), 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port_of(listener))),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)
    assert probe_addresses(["login.example.org"], port_of(listener), 5) == "127.0.0.1"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this host")
def test_ipv6():
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as e:
        pytest.skip(f"no IPv6 loopback on this host: {e}")
    with server:
        assert probe_addresses(["127.0.0.1", "::1"], port_of(server), 5) == "::1"


def test_the_error_says_what_each_address_did(closed_port):
    with pytest.raises(UnreachableError) as caught:
        probe_addresses(["127.0.0.1", "no-such-host.invalid", "a" * 70 + ".org", "::1%9999"], closed_port, 5)
    text = str(caught.value)
    assert f"port {closed_port} within 5 s" in text
    assert "127.0.0.1: ECONNREFUSED" in text
    assert "no-such-host.invalid: " in text
    assert "a" * 70 in text


def test_no_address_at_all():
    with pytest.raises(UnreachableError, match="no addresses were given"):
        probe_addresses([], 1, 5)


def test_silence_ends_with_the_time_that_was_given(deaf):
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match=r"within 0.2 s \(127.0.0.1: no answer\)"):
        probe_addresses(["127.0.0.1"], deaf, 0.2)
    assert 0.2 <= time.monotonic() - begun < 5


def test_a_refusal_does_not_end_the_wait_for_the_others(deaf):
    with pytest.raises(UnreachableError) as caught:
        probe_addresses(["127.0.0.1", "127.0.0.3"], deaf, 0.2)
    assert "127.0.0.1: no answer" in str(caught.value)
    assert "127.0.0.3: ECONNREFUSED" in str(caught.value)


def test_a_family_that_this_host_does_not_have(listener, monkeypatch):
    real = socket.socket

    def without_ipv6(family=-1, *args, **kwargs):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *args, **kwargs)

    monkeypatch.setattr(probe.socket, "socket", without_ipv6)
    assert probe_addresses(["::1", "127.0.0.1"], port_of(listener), 5) == "127.0.0.1"
