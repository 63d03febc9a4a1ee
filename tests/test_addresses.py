from __future__ import annotations

import errno
import http.server
import ipaddress
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl import addresses


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A query service of our own; the test sets what it answers."""
    text = [b""]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text[0])

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(addresses, "QUERY_URL", f"http://127.0.0.1:{server.server_address[1]}")
        yield text
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("text", [b"192.0.2.7", b"192.0.2.7\n", b"2001:db8::7"])
def test_query(answer: list[bytes], text: bytes) -> None:
    answer[0] = text
    assert addresses.address_by_query(timeout=10) == text.decode().strip()


@pytest.mark.parametrize("text", [b"", b"<html>", b"192.0.2.999", b"\xff\xfe"])
def test_query_with_an_answer_that_is_no_address(answer: list[bytes], text: bytes) -> None:
    answer[0] = text
    with pytest.raises(ValueError, match="does not appear to be"):
        addresses.address_by_query(timeout=10)


def test_query_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(addresses, "QUERY_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OSError, match="timed out"):
            addresses.address_by_query(timeout=0.05)


def test_hostname_prefers_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::7%eth0", 0, 0, 2))
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [six, four])
    assert addresses.address_by_hostname() == "192.0.2.7"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [six])
    assert addresses.address_by_hostname() == "fe80::7"


def test_hostname_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "no-such-host.invalid")
    with pytest.raises(OSError):
        addresses.address_by_hostname()
    assert "127.0.0.1" in addresses.get_all_addresses()  # one opinion missing doesn't hurt


def test_interface() -> None:
    loopback = next(
        name for name, entries in psutil.net_if_addrs().items() if "127.0.0.1" in [e.address for e in entries]
    )
    assert addresses.address_by_interface(loopback) == "127.0.0.1"


def test_unknown_interface_names_those_there_are() -> None:
    with pytest.raises(OSError, match=r"No network interface 'nosuch0'; there are .*lo") as caught:
        addresses.address_by_interface("nosuch0")
    assert caught.value.errno == errno.ENODEV


def interfaces(monkeypatch: pytest.MonkeyPatch, table: dict[str, tuple[bool, list[tuple[int, str]]]]) -> None:
    entries: dict[str, Any] = {
        name: [SimpleNamespace(family=family, address=address) for family, address in rows]
        for name, (_, rows) in table.items()
    }
    states = {name: SimpleNamespace(isup=isup) for name, (isup, _) in table.items()}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: entries)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: states)


LINK = int(getattr(psutil, "AF_LINK", -1))
HOST: dict[str, tuple[bool, list[tuple[int, str]]]] = {
    "lo": (True, [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (LINK, "00:00:00:00:00:00")]),
    "ib0": (True, [(socket.AF_INET6, "fe80::5%ib0"), (socket.AF_INET6, "2001:db8::5"), (socket.AF_INET, "10.1.1.5")]),
    "six0": (True, [(socket.AF_INET6, "fe80::6%six0"), (LINK, "00:00:00:00:00:01")]),
    "down0": (False, [(socket.AF_INET, "10.9.9.9")]),
    "bare0": (True, [(LINK, "00:00:00:00:00:02")]),
}


def test_addresses_of_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    interfaces(monkeypatch, HOST)
    monkeypatch.setattr(addresses, "address_by_hostname", lambda: "10.1.1.77")
    assert addresses.address_by_interface("ib0") == "10.1.1.5"
    assert addresses.address_by_interface("six0") == "fe80::6"
    with pytest.raises(OSError, match="'bare0' has no internet address"):
        addresses.address_by_interface("bare0")
    expected = {"127.0.0.1", "::1", "fe80::5", "2001:db8::5", "10.1.1.5", "fe80::6", "10.1.1.77"}
    assert addresses.get_all_addresses() == expected


def test_any_address_goes_from_route_to_interface_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise OSError(errno.ENETUNREACH, "no route")

    monkeypatch.setattr(addresses, "address_by_route", lambda: "192.0.2.1")
    assert addresses.get_any_address() == "192.0.2.1"
    monkeypatch.setattr(addresses, "address_by_route", fails)
    interfaces(monkeypatch, HOST)
    assert addresses.get_any_address() == "10.1.1.5"
    interfaces(monkeypatch, {"lo": HOST["lo"]})
    assert addresses.get_any_address() == "127.0.0.1"
    interfaces(monkeypatch, {})
    monkeypatch.setattr(addresses, "address_by_hostname", lambda: "127.0.1.1")
    assert addresses.get_any_address() == "127.0.1.1"
    monkeypatch.setattr(addresses, "address_by_hostname", fails)
    with pytest.raises(OSError, match="no route"):
        addresses.get_any_address()


def test_route_is_an_address_of_this_host_or_a_clear_error() -> None:
    try:
        address = addresses.address_by_route()
    except OSError as error:
        assert error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}  # noqa: PT017
    else:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))


def test_the_real_addresses_are_addresses() -> None:
    found = addresses.get_all_addresses()
    assert "127.0.0.1" in found
    assert all(ipaddress.ip_address(address) for address in found)
    assert ipaddress.ip_address(addresses.get_any_address())


@pytest.mark.parametrize(
    ("address", "port", "url"),
    [
        ("127.0.0.1", 55001, "tcp://127.0.0.1:55001"),
        ("127.0.0.1", "55001", "tcp://127.0.0.1:55001"),
        ("127.0.0.1", None, "tcp://127.0.0.1"),
        ("127.0.0.1", 0, "tcp://127.0.0.1:0"),
        ("::1", 5, "tcp://[::1]:5"),
        ("::1", None, "tcp://[::1]"),
        ("[::1]", 5, "tcp://[::1]:5"),
        ("fe80::1%eth0", 5, "tcp://[fe80::1%eth0]:5"),
        ("login.example.org", 5, "tcp://login.example.org:5"),
        ("*", "*", "tcp://*:*"),
    ],
)
def test_tcp_url(address: str, port: str | int | None, url: str) -> None:
    assert addresses.tcp_url(address, port) == url


@pytest.mark.parametrize(("address", "port"), [("", 5), ("host:80", 5), (":::", None), ("::1", 65536), ("h", -1)])
def test_tcp_url_of_nonsense(address: str, port: int | None) -> None:
    with pytest.raises(ValueError, match=r"tcp_url|'.*'"):
        addresses.tcp_url(address, port)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_tcp_url_of_any_address_can_be_read_back(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    from urllib.parse import urlsplit

    url = urlsplit(addresses.tcp_url(str(address), port))
    assert ipaddress.ip_address(url.hostname or "") == address
    assert url.port == port
