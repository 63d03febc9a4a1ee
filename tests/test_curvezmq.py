from __future__ import annotations

import os
import pathlib
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest
import zmq
import zmq.auth

from parsl.addresses import tcp_url
from parsl.curvezmq import ClientContext, ServerContext, create_certificates

SOON = 10_000
NEVER = 300


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


LOOPBACKS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]


@pytest.fixture
def certificates(tmp_path: pathlib.Path) -> str:
    return create_certificates(tmp_path)


@pytest.fixture
def server(certificates: str) -> Iterator[ServerContext]:
    context = ServerContext(certificates, ipv6=True)
    yield context
    context.destroy(0)


def listen(context: ServerContext, address: str = "127.0.0.1") -> tuple[zmq.Socket[bytes], str]:
    listener = context.socket(zmq.ROUTER)
    port = listener.bind_to_random_port(tcp_url(address))
    return listener, tcp_url(address, port)


def refused(listener: zmq.Socket[bytes], peer: zmq.Socket[bytes], url: str) -> bool:
    peer.connect(url)
    peer.send(b"let me in")
    return not listener.poll(NEVER) and not peer.poll(0)


@pytest.mark.parametrize("address", LOOPBACKS)
def test_the_right_keys_pass_both_ways(server: ServerContext, certificates: str, address: str) -> None:
    listener, url = listen(server, address)
    context = ClientContext(certificates, ipv6=True)
    with context.socket(zmq.DEALER) as peer:
        peer.connect(url)
        peer.send(b"question")
        assert listener.poll(SOON)
        name, question = listener.recv_multipart()
        listener.send_multipart([name, b"answer"])
        assert peer.poll(SOON)
        assert (question, peer.recv()) == (b"question", b"answer")
    context.term()


def test_many_clients_and_several_sockets_share_one_thread(server: ServerContext, certificates: str) -> None:
    before = threading.active_count()
    listeners = [listen(server) for _ in range(3)]
    assert threading.active_count() == before + 1
    context = ClientContext(certificates)
    for listener, url in listeners:
        peers = [context.socket(zmq.DEALER) for _ in range(20)]
        for number, peer in enumerate(peers):
            peer.connect(url)
            peer.send(b"%d" % number)
        received: set[int] = set()
        while len(received) < len(peers):
            assert listener.poll(SOON)
            received.add(int(listener.recv_multipart()[1]))
    context.destroy(0)


@pytest.mark.parametrize("address", LOOPBACKS)
def test_a_plain_client_is_refused(server: ServerContext, address: str) -> None:
    listener, url = listen(server, address)
    context = ClientContext(None, ipv6=True)
    assert refused(listener, context.socket(zmq.DEALER), url)
    context.destroy(0)


def test_another_client_key_is_refused(server: ServerContext, certificates: str, tmp_path: pathlib.Path) -> None:
    listener, url = listen(server)
    (tmp_path / "other").mkdir()
    foreign = create_certificates(tmp_path / "other")
    # It knows the server's public key; only its own key isn't the one that was made for clients.
    shutil.copy(os.path.join(certificates, "server.key"), foreign)
    context = ClientContext(foreign)
    assert refused(listener, context.socket(zmq.DEALER), url)
    context.destroy(0)


def test_another_server_key_is_refused(server: ServerContext, certificates: str, tmp_path: pathlib.Path) -> None:
    listener, url = listen(server)
    (tmp_path / "other").mkdir()
    foreign = create_certificates(tmp_path / "other")
    shutil.copy(os.path.join(foreign, "server.key"), certificates)
    context = ClientContext(certificates)
    assert refused(listener, context.socket(zmq.DEALER), url)
    context.destroy(0)


def test_a_client_does_not_talk_to_a_plain_server(certificates: str) -> None:
    plain, context = ServerContext(None), ClientContext(certificates)
    listener, url = listen(plain)
    assert refused(listener, context.socket(zmq.DEALER), url)
    context.destroy(0)
    plain.destroy(0)


def test_garbage_on_the_port_hurts_nobody(server: ServerContext, certificates: str) -> None:
    listener, url = listen(server)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
        test_the_right_keys_pass_both_ways(server, certificates, "127.0.0.1")
    assert not listener.poll(0)


def test_without_certificates_all_is_plain() -> None:
    server, client = ServerContext(None), ClientContext(None)
    before = threading.active_count()
    listener, url = listen(server)
    assert threading.active_count() == before
    with client.socket(zmq.DEALER) as peer:
        peer.connect(url)
        peer.send(b"hello")
        assert listener.poll(SOON)
    client.term()
    server.destroy(0)


def test_local_sockets_can_do_without_curve(server: ServerContext, certificates: str, tmp_path: pathlib.Path) -> None:
    before = threading.active_count()
    listener = server.socket(zmq.ROUTER, curve=False)
    listener.bind(f"ipc://{tmp_path}/socket")
    assert threading.active_count() == before
    client = ClientContext(certificates)
    with client.socket(zmq.DEALER, curve=False) as peer:
        peer.connect(f"ipc://{tmp_path}/socket")
        peer.send(b"hello")
        assert listener.poll(SOON)
    client.term()


def test_destroy_ends_sockets_threads_and_descriptors(certificates: str) -> None:
    threads, descriptors = threading.active_count(), psutil.Process().num_fds()
    server, client = ServerContext(certificates), ClientContext(certificates)
    listener, url = listen(server)
    peer = client.socket(zmq.DEALER)
    peer.connect(url)
    peer.send(b"hello")
    assert listener.poll(SOON)
    assert not server.closed
    server.destroy(0)
    client.destroy(0)
    assert server.closed
    assert client.closed
    assert listener.closed
    assert peer.closed
    server.destroy(0)
    client.term()
    assert (threading.active_count(), psutil.Process().num_fds()) == (threads, descriptors)


def test_recreate_gives_a_working_context_with_the_same_keys(certificates: str) -> None:
    server, client = ServerContext(certificates), ClientContext(certificates)
    old, _ = listen(server)
    server.recreate(0)
    client.recreate()
    assert old.closed
    assert not server.closed
    test_the_right_keys_pass_both_ways(server, certificates, "127.0.0.1")
    server.destroy(0)
    server.recreate()
    test_the_right_keys_pass_both_ways(server, certificates, "127.0.0.1")
    server.destroy(0)
    client.destroy(0)


def test_certificates_are_private_from_the_start(tmp_path: pathlib.Path) -> None:
    old = os.umask(0)
    try:
        certificates = pathlib.Path(create_certificates(str(tmp_path)))
    finally:
        os.umask(old)
    assert certificates == tmp_path / "certificates"
    assert stat.S_IMODE(certificates.stat().st_mode) == 0o700
    files = sorted(certificates.iterdir())
    assert [file.name for file in files] == ["client.key", "client.key_secret", "server.key", "server.key_secret"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_certificates_are_in_the_format_of_zeromq(certificates: str) -> None:
    public, secret = zmq.auth.load_certificate(os.path.join(certificates, "server.key_secret"))
    assert zmq.auth.load_certificate(os.path.join(certificates, "server.key")) == (public, None)
    assert zmq.curve_public(secret or b"") == public


def test_certificates_are_not_overwritten(certificates: str, tmp_path: pathlib.Path) -> None:
    before = pathlib.Path(certificates, "server.key").read_text()
    with pytest.raises(FileExistsError):
        create_certificates(tmp_path)
    assert pathlib.Path(certificates, "server.key").read_text() == before


def test_certificates_in_a_folder_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        create_certificates(tmp_path / "nowhere")


CONTEXTS = [(ServerContext, "server.key_secret"), (ServerContext, "client.key"),
            (ClientContext, "client.key_secret"), (ClientContext, "server.key")]  # fmt: skip


@pytest.mark.parametrize(("context", "file"), CONTEXTS)
def test_a_missing_file_is_named(context: type[ServerContext], file: str, certificates: str) -> None:
    pathlib.Path(certificates, file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        context(certificates)


@pytest.mark.parametrize(("context", "file"), CONTEXTS)
@pytest.mark.parametrize("text", ["", "public-key", 'public-key = "short"\nsecret-key = "short"', "\xff\x00"])
def test_a_spoilt_file_is_named(context: type[ServerContext], file: str, certificates: str, text: str) -> None:
    pathlib.Path(certificates, file).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=file):
        context(certificates)


@pytest.mark.parametrize(("context", "file"), CONTEXTS[::2])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_secret_that_others_can_reach_is_refused(
    context: type[ServerContext], file: str, certificates: str, mode: int
) -> None:
    pathlib.Path(certificates, file).chmod(mode)
    with pytest.raises(PermissionError, match=rf"open to other users \(mode {mode:o}.*{file}"):
        context(certificates)


def test_an_unreadable_file_is_an_os_error(certificates: str) -> None:
    path = pathlib.Path(certificates, "server.key_secret")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"server\.key_secret"):
        ServerContext(certificates)


def test_nobody_gets_in_when_the_authenticator_is_gone(certificates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerContext, "_start_authenticator", lambda _self: None)
    server, client = ServerContext(certificates), ClientContext(certificates)
    listener, url = listen(server)
    with closing(client.socket(zmq.DEALER)) as peer:
        peer.linger = 0
        assert refused(listener, peer, url)
    client.term()
    server.destroy(0)
