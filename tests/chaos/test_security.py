"""Nobody without the keys gets in, nothing is unpickled for a stranger, and no secret lies about."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl.app.app import bash_app, python_app
from parsl.data_provider.files import File
from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.messages import Heartbeat
from parsl.executors.high_throughput.streams import LENGTH
from tests.chaos.report import chaos_report
from tests.live import pilot

# An interchange that takes note of whatever is unpickled after its own configuration.
WATCHED = """
import io, pickle, sys
from parsl.executors.high_throughput import interchange

read_config = interchange._read_config

def note(*args, **kwargs):
    with open({log!r}, "a") as file:
        file.write("unpickled\\n")
    raise RuntimeError("nothing is to be unpickled here")

def read():
    config = read_config()
    pickle.loads = pickle.load = pickle.Unpickler = pickle._Unpickler = note
    return config

interchange._read_config = read
interchange.main()
"""


def watched(tmp_path, **options):
    """Make an executor over TCP whose interchange takes note of unpickling, and return the path of its notes too."""
    script, log = tmp_path / "watched.py", tmp_path / "unpickled"
    script.write_text(WATCHED.format(log=str(log)))
    command = [sys.executable, str(script)]
    executor = pilot.htex(
        launch_cmd=pilot.OVER_TCP, interchange_launch_cmd=command, block_error_handler=False, **options
    )
    return executor, log


def still_works(kernel):
    app = python_app(divmod, data_flow_kernel=kernel)
    assert [f.result(pilot.SOON) for f in [app(i, 7) for i in range(100)]] == [divmod(i, 7) for i in range(100)]
    executor = kernel.executors["htex"]
    assert len(executor.connected_managers()) == 1
    return executor


# -- at rest -----------------------------------------------------------------------------------------------------------


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def secrets_of(executor):
    """Return the secrets of a run: the keys, and the token of the segment store."""
    found = [Path(executor._client.store.folder, "token").read_bytes()]
    for path in Path(executor.cert_dir).glob("*.key_secret"):
        found.append(re.search(r'secret-key = "(.*)"', path.read_text()).group(1).encode())
    assert len(found) == 3
    return found


def readable(paths):
    for path in paths:
        with contextlib.suppress(OSError, PermissionError):
            if path.is_file():
                yield path, path.read_bytes()


@pytest.mark.parametrize("way", ["streams", "tcp"])
def test_no_secret_lies_about(tmp_path, way):
    options = {} if way == "streams" else {"launch_cmd": pilot.OVER_TCP}
    with pilot.kernel(tmp_path, pilot.htex(worker_debug=True, **options)) as kernel:
        executor = still_works(kernel)
        secrets, store = secrets_of(executor), executor._client.store.folder
        keys = Path(executor.cert_dir)
        assert mode(keys) == 0o700
        assert {mode(p) for p in keys.iterdir()} == {0o600}
        assert mode(store) == 0o700
        for path in Path(store).rglob("*"):
            assert not mode(path) & 0o077 or mode(store) == 0o700
        for process in psutil.process_iter():
            for file in ("cmdline", "environ"):
                for path, data in readable([Path(f"/proc/{process.pid}/{file}")]):
                    assert not any(secret in data for secret in secrets), path
        private = {*keys.iterdir(), Path(store, "token")}
        for path, data in readable(p for p in tmp_path.rglob("*") if p not in private):
            assert not any(secret in data for secret in secrets), path
        # What any user can read in shared memory.
        for path in Path("/dev/shm").glob("parsl-*"):
            assert not mode(path) & 0o077


# -- over the network --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def dealer(port, **keys):
    context = zmq.Context()
    try:
        socket_ = context.socket(zmq.DEALER)
        socket_.linger = 0
        for name, key in keys.items():
            setattr(socket_, name, key)
        socket_.connect(f"tcp://127.0.0.1:{port}")
        yield socket_
        socket_.close()
    finally:
        context.term()


def registration():
    names = ("stranger", messages.PROTOCOL_VERSION, "0", "elsewhere", 4, 4, "3.0", "0", "", "", 1)
    return messages.from_manager().encode(messages.Register(*names))


@pytest.mark.parametrize("who", ["plain", "wrong keys", "right server, wrong keys"])
def test_without_the_keys_a_manager_is_not_heard(tmp_path, who):
    executor, log = watched(tmp_path)
    with pilot.kernel(tmp_path, executor) as kernel:
        still_works(kernel)
        keys = {}
        if who != "plain":
            public, secret = zmq.curve_keypair()
            known = Path(executor.cert_dir, "server.key").read_text().split('public-key = "')[1][:40].encode()
            server = known if who.startswith("right") else zmq.curve_keypair()[0]
            keys = {"curve_publickey": public, "curve_secretkey": secret, "curve_serverkey": server}
        began = time.monotonic()
        with dealer(executor._port, **keys) as stranger:
            with contextlib.suppress(zmq.Again):
                stranger.send(registration(), zmq.NOBLOCK)
            still_works(kernel)
            assert not stranger.poll(300), "a stranger was answered"
        assert not log.exists()
        chaos_report(f"a stranger on the managers' port: {who}", "nothing: it is not heard", time.monotonic() - began)


class Recorder:
    """A proxy that writes down what a manager sends."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sent = bytearray()
        self.sockets = [self.listener]
        self.threads = [threading.Thread(target=self.serve, args=(port,))]
        self.threads[0].start()

    def serve(self, port):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.sockets.append(near)
                far = socket.create_connection(("127.0.0.1", port))
                self.sockets.append(far)
                for pair in ((near, far, self.sent), (far, near, None)):
                    self.threads.append(threading.Thread(target=self.copy, args=pair))
                    self.threads[-1].start()

    @staticmethod
    def copy(source, target, record):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if record is not None:
                    record += data
                target.sendall(data)
        # As one side has closed it.
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        for thread in self.threads:
            thread.join()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_a_session_that_is_played_again_is_not_heard(tmp_path):
    port = free_port()
    recorder = Recorder(port)
    try:
        command = pilot.OVER_TCP.replace("--port={worker_port}", f"--port={recorder.port}")
        executor = pilot.htex(launch_cmd=command, worker_port=port, block_error_handler=False)
        with pilot.kernel(tmp_path, executor) as kernel:
            still_works(kernel)
            session = bytes(recorder.sent)
            assert len(session) > 1000
            assert b"Register" not in session
            assert b"divmod" not in session
            assert socket.gethostname().encode() not in session, "what was said is encrypted"
            begun = time.monotonic()
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", port)) as attacker:
                    attacker.settimeout(pilot.SOON)
                    attacker.sendall(session)
                    attacker.shutdown(socket.SHUT_WR)
                    answer = b""
                    with contextlib.suppress(ConnectionError):
                        while data := attacker.recv(65536):
                            answer += data
                    # The greeting, and the first of the handshake at most.
                    assert len(answer) < 1000
            still_works(kernel)
            chaos_report("a recorded session, played again", "nothing: it is not heard", time.monotonic() - begun)
    finally:
        recorder.close()


SCAN = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"SSH-2.0-scan\r\n",
    b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48),
    b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(200),
    b"\x00\x00\x00\x2a\x00*IDN?",
    b"",
]


def listening_ports(executor):
    """Return the TCP ports of all processes of a run."""
    processes = [psutil.Process(), *pilot.everything_of(executor)]
    return {c.laddr.port for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}


def test_a_port_scan_with_garbage_harms_nothing(tmp_path):
    executor, log = watched(tmp_path)
    with pilot.kernel(tmp_path, executor) as kernel:
        still_works(kernel)
        ports = listening_ports(executor)
        assert ports == {executor._port}, "one port for each executor"
        rng = random.Random(1)
        began = time.monotonic()
        for text in [*SCAN, *(rng.randbytes(rng.randrange(2000)) for _ in range(300))]:
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", executor._port)) as raw:
                raw.sendall(text)
        still_works(kernel)
        assert not log.exists()
        chaos_report("a port scan with garbage", "nothing", time.monotonic() - began)


frames = st.lists(st.binary(max_size=60) | st.sampled_from([b"", b"\x91\x0d", registration()]), min_size=1, max_size=4)
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def test_ten_thousand_fuzzed_frames_on_the_open_port_unpickle_nothing(tmp_path):
    """Without encryption everybody is heard: what is said must do no harm still."""
    executor, log = watched(tmp_path, encrypted=False)
    with pilot.kernel(tmp_path, executor) as kernel:
        still_works(kernel)
        count = 0
        with dealer(executor._port) as stranger:

            @FUZZ
            @given(batch=st.lists(frames, min_size=80, max_size=90))
            def fuzz(batch):
                nonlocal count
                for message in batch:
                    # One that names a version that does not fit would be told, and end the run: rightly.
                    if registration() not in message:
                        stranger.send_multipart(message)
                        count += len(message)

            fuzz()
            stranger.send(messages.from_manager().encode(Heartbeat()))
            assert stranger.poll(pilot.SOON * 1000)
        assert count >= 10_000
        still_works(kernel)
        assert not log.exists()
        assert not executor.bad_state_is_set
        assert executor._client.process.poll() is None


def test_ten_thousand_fuzzed_frames_on_the_file_system_socket_unpickle_nothing(tmp_path):
    executor, log = watched(tmp_path)
    with pilot.kernel(tmp_path, executor) as kernel:
        still_works(kernel)
        path, count = f"{executor._client.store.folder}/managers", 0
        old = executor._client.process.pid

        @FUZZ
        @given(batch=st.lists(st.binary(max_size=200), min_size=100, max_size=120))
        def fuzz(batch):
            nonlocal count
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(path)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    stranger.sendall(b"".join(LENGTH.pack(len(data)) + data for data in batch))
            count += len(batch)

        fuzz()
        assert count >= 10_000
        still_works(kernel)
        assert not log.exists()
        assert executor._client.process.pid == old, "it has lived through it"


# -- what users write --------------------------------------------------------------------------------------------------

HOSTILE = [
    "$(touch {0})",
    "`touch {0}`",
    "'; touch {0}; '",
    '"; touch {0}; "',
    "a\ntouch {0}\n",
    "| touch {0} #",
    "& touch {0}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_is_no_program(tmp_path, text):
    sign = tmp_path / "sign"
    # A label names folders, so it has no slash; the sign is left where the shell runs.
    label = text.format("sign")
    executor = pilot.htex(label=label)
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        with pilot.kernel(tmp_path, executor) as kernel:
            assert python_app(abs, data_flow_kernel=kernel)(-1).result(pilot.SOON) == 1
    finally:
        os.chdir(here)
    assert not sign.exists()
    assert not list(tmp_path.rglob("sign"))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_files_url_is_no_program(tmp_path, text):
    sign = tmp_path / "sign"
    path = tmp_path / text.format("sign").replace("\n", " ")
    path.write_text("data")
    with pilot.kernel(tmp_path) as kernel:

        @bash_app(data_flow_kernel=kernel)
        def read(inputs=(), stdout=None):
            return f"cat {shlex.quote(inputs[0].filepath)}"

        @python_app(data_flow_kernel=kernel)
        def size(inputs=()):
            return len(open(inputs[0]).read())

        for file in (File(str(path)), File(f"file://{path}".replace("?", "%3f").replace("#", "%23"))):
            if not os.path.exists(file.filepath):
                continue  # quoting of URLs is not this test's business
            assert size(inputs=[file]).result(pilot.SOON) == 4
            assert read(inputs=[file], stdout=str(tmp_path / "out")).result(pilot.SOON) == 0
    assert not sign.exists()
