"""Managers on other nodes: over TCP, with stores of their own; and strangers on the port where they connect."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
from pathlib import Path

import pytest
import zmq

from parsl.app.app import python_app
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.client import InterchangeStartError
from parsl.executors.high_throughput.errors import InterchangeLost, ManagerLost, VersionMismatch, WorkerLost
from parsl.executors.high_throughput.messages import (
    Heartbeat,
    Payload,
    Refused,
    Register,
    Reintroduce,
    Result,
    Results,
    Segment,
)
from parsl.executors.high_throughput.segments import SegmentStore
from tests.live import pilot

MB = 1024 * 1024


def over_tcp(**options):
    """Make an executor whose manager behaves as on another node."""
    return pilot.htex(**{"launch_cmd": pilot.OVER_TCP, "block_error_handler": False, **options})


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


NETWORKS = {
    "encrypted": {"encrypted": True},
    "plain": {"encrypted": False},
    "a host's name": {"address": "localhost"},
    "any address": {"address": None},
    "IPv6": {"address": "::1", "loopback_address": "::1", "encrypted": True},
}


@pytest.mark.parametrize("network", NETWORKS)
def test_tasks_run_over_tcp(tmp_path, network):
    if network == "IPv6" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with pilot.kernel(tmp_path, over_tcp(**NETWORKS[network])) as kernel:
        executor = kernel.executors["htex"]

        @python_app(data_flow_kernel=kernel)
        def mirror(data):
            return data[::-1]

        @python_app(data_flow_kernel=kernel)
        def fail(data):
            raise ValueError(data)

        assert [f.result(pilot.SOON) for f in [mirror(str(i)) for i in range(300)]] == [
            str(i)[::-1] for i in range(300)
        ]
        data = [os.urandom(MB + i) for i in range(10)]
        assert [f.result(pilot.SOON) for f in [mirror(d) for d in data]] == [d[::-1] for d in data]
        error = fail(data[0]).exception(pilot.SOON)
        assert type(error) is ValueError
        assert error.args == (data[0],)
        # The manager has not taken the short way.
        assert held_by(pilot.manager_of(executor))


@pytest.fixture
def kernel(tmp_path):
    executor = over_tcp(heartbeat_period=1, heartbeat_threshold=2)
    with pilot.kernel(tmp_path, executor) as kernel:
        yield kernel


@pytest.fixture
def executor(kernel):
    return kernel.executors["htex"]


def held_by(process) -> list[str]:
    """Return the paths of the stores that a process owns: it holds their tokens open."""
    return [os.path.dirname(f.path) for f in process.open_files() if os.path.basename(f.path) == "token"]


def test_the_nodes_store_is_its_own_and_is_emptied(kernel, executor):
    manager = pilot.manager_of(executor)
    (folder,) = held_by(manager)
    assert folder != executor._client.store.folder
    length = python_app(len, data_flow_kernel=kernel)
    assert [f.result(pilot.SOON) for f in [length(bytes(MB)) for _ in range(20)]] == [MB] * 20
    made = kernel.submit(bytes, (5 * MB,))
    assert made.result(pilot.SOON) == bytes(5 * MB)

    def large(store):
        return [e.name for e in os.scandir(store) if e.is_file() and e.stat().st_size >= MB]

    assert not large(executor._client.store.folder)
    # The node keeps results until it is told that they have arrived.
    pilot.wait_for(lambda: not large(folder), 2)
    kernel.cleanup()
    assert not os.path.exists(folder)


def test_a_node_that_has_no_room_fails_the_one_task(tmp_path):
    executor = over_tcp(launch_cmd=f"ulimit -f 2048; {pilot.OVER_TCP}")
    with pilot.kernel(tmp_path, executor) as kernel:
        length = python_app(len, data_flow_kernel=kernel)
        large, made, small = length(bytes(5 * MB)), kernel.submit(bytes, (5 * MB,)), length(bytes(MB))
        for future in (large, made):
            error = future.exception(pilot.SOON)
            assert isinstance(error, OSError)
            assert "no room" in str(error)
        assert socket.gethostname() in large.exception().__notes__[0]
        assert small.result(pilot.SOON) == MB
        assert executor.outstanding() == 0


def test_lost_workers_are_known_over_tcp(kernel):
    @python_app(data_flow_kernel=kernel)
    def leave(data):
        os._exit(3)

    error = leave(bytes(MB)).exception(pilot.SOON)
    assert isinstance(error, WorkerLost)
    assert error.cause == "exit code 3"


@pytest.mark.parametrize(
    ("number", "cause"), [(signal.SIGKILL, "not heard of for"), (signal.SIGTERM, "SIGTERM")], ids=["killed", "told"]
)
def test_a_remote_manager_that_is_gone_is_known_in_time(kernel, executor, tmp_path, number, cause):
    gate = pilot.Gate(tmp_path / "gate")
    future = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
    pilot.wait_for(lambda: pilot.running(executor, 1))
    workers, (folder,) = pilot.workers_of(executor), held_by(pilot.manager_of(executor))
    pilot.kill(pilot.manager_of(executor), number)
    error = future.exception(pilot.SOON)
    assert isinstance(error, ManagerLost)
    assert cause in str(error)
    assert not pilot.still_there(workers, 5)
    if number == signal.SIGKILL:
        # Nobody was left to remove its store; whoever makes the next one on this node does.
        SegmentStore().close()
    assert pilot.wait_for(lambda: not os.path.exists(folder))
    gate.close()


def test_a_remote_manager_ends_when_no_other_interchange_comes(kernel, executor):
    manager = pilot.manager_of(executor)
    processes = [manager, *manager.children()]
    executor._client._keeper.process._command = ["/no/such/program"]
    pilot.kill(pilot.interchange_of(executor))
    assert not pilot.still_there(processes, 10)
    assert isinstance(executor.executor_exception, InterchangeLost)


# -- strangers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger():
    """Make a raw zmq socket."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.ipv6 = True
        yield dealer


def registration(**changes) -> Register:
    fields = {
        "uid": "stranger",
        "protocol": messages.PROTOCOL_VERSION,
        "block_id": "7",
        "hostname": "elsewhere",
        "workers": 1,
        "capacity": 1,
        "python_version": "3.11.0",
        "parsl_version": "2026.1.1",
        "segments": "",
        "token": "",
        "pid": 1,
    }
    return Register(**{**fields, **changes})


def test_the_run_goes_on_whatever_comes_in_at_the_port(tmp_path, stranger):
    codec = messages.from_manager()
    with pilot.kernel(tmp_path, over_tcp(encrypted=False)) as kernel:
        executor = kernel.executors["htex"]
        add = python_app(divmod, data_flow_kernel=kernel)
        assert add(7, 2).result(pilot.SOON) == (3, 1)
        stranger.connect(f"tcp://127.0.0.1:{executor._port}")
        segment = Segment("frame:9", [10], [False])
        frames = [
            [b"garbage"],
            [b"{}"],
            [b""],
            [b"", b""],
            [b"x"] * 100,
            [pickle.dumps({"type": "heartbeat"})],
            [os.urandom(1000)],
            [b"\x92\x08" + b"\x91" * 3000],
            [bytes(64 * MB)],
            [codec.encode(Results([Result(1, 0, Payload(b"stolen"))], 5))],
            [codec.encode(Results([Result(1, 0, Payload(b"", segment))], 5)), bytes(10 * MB)],
            [messages.to_client().encode(messages.Answer(5, None))],
        ]
        for message in frames:
            stranger.send_multipart(message)
        for text in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(5000), struct.pack("<I", 2**31), b""):
            with socket.create_connection(("127.0.0.1", executor._port)) as raw:
                raw.sendall(text)
        stranger.send(codec.encode(Heartbeat()))
        # Sent last, and answered: so all before has been seen.
        refusals = []
        while not refusals or stranger.poll(200):
            assert stranger.poll(pilot.SOON * 1000)
            refusals.append(messages.to_manager().decode(stranger.recv()))
        assert {type(r) for r in refusals} == {Reintroduce}, (
            "but what it says counts for nothing before it has registered"
        )
        assert len(refusals) == 3
        assert [f.result(pilot.SOON) for f in [add(i, 7) for i in range(100)]] == [divmod(i, 7) for i in range(100)]
        assert len(executor.connected_managers()) == 1
        assert executor.connected_blocks() == ["0"]
        log = Path(kernel.run_dir, "htex", "interchange.log").read_text()
        assert "that are no message" in log
        assert "not a registered manager" in log
        assert "Traceback" not in log


def test_without_the_keys_nobody_gets_in(tmp_path, stranger):
    with pilot.kernel(tmp_path, over_tcp(encrypted=True)) as kernel:
        executor = kernel.executors["htex"]
        add = python_app(divmod, data_flow_kernel=kernel)
        public, secret = zmq.curve_keypair()
        server = Path(executor.cert_dir, "server.key").read_text().split('public-key = "')[1][:40]
        stranger.curve_publickey, stranger.curve_secretkey = public, secret
        stranger.curve_serverkey = server.encode()
        stranger.connect(f"tcp://127.0.0.1:{executor._port}")
        # It may have been turned away before it can say anything.
        with contextlib.suppress(zmq.Again):
            stranger.send(messages.from_manager().encode(registration()), zmq.NOBLOCK)
        assert [f.result(pilot.SOON) for f in [add(i, 7) for i in range(100)]] == [divmod(i, 7) for i in range(100)]
        assert not stranger.poll(300)
        assert len(executor.connected_managers()) == 1


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"python_version": "2.7.18"}, "Python 2.7.18"), ({"protocol": 99}, "protocol 99")],
    ids=["python", "protocol"],
)
def test_a_manager_of_another_version_is_refused_and_both_versions_are_told(tmp_path, stranger, changes, told):
    with pilot.kernel(tmp_path, over_tcp(encrypted=False, provider=pilot.provider(init_blocks=0))) as kernel:
        executor = kernel.executors["htex"]
        future = kernel.submit(int, ())
        stranger.connect(f"tcp://127.0.0.1:{executor._port}")
        stranger.send(messages.from_manager().encode(registration(**changes)))
        error = future.exception(pilot.SOON)
        assert isinstance(error, BadStateException)
        assert isinstance(error.__cause__, VersionMismatch)
        assert told in str(error)
        assert "elsewhere" in str(error)
        assert stranger.poll(pilot.SOON * 1000)
        refused = messages.to_manager().decode(stranger.recv())
        assert isinstance(refused, Refused)
        assert told in refused.reason


def test_a_real_manager_of_another_python_says_so_and_ends(tmp_path):
    wrapper = tmp_path / "old.py"
    wrapper.write_text(
        "import platform\nplatform.python_version = lambda: '3.4.5'\n"
        "from parsl.executors.high_throughput.process_worker_pool import main\nmain()\n"
    )
    command = pilot.OVER_TCP.replace("-m parsl.executors.high_throughput.process_worker_pool", str(wrapper))
    with pilot.kernel(tmp_path, over_tcp(launch_cmd=command)) as kernel:
        executor = kernel.executors["htex"]
        error = kernel.submit(int, ()).exception(pilot.SOON)
        assert isinstance(error.__cause__, VersionMismatch)
        assert "3.4.5" in str(error)
        status = pilot.wait_for(lambda: (s := executor.status()["0"]).terminal and s)
        assert status.exit_code == 1
        assert "3.4.5" in status.stderr


@pytest.fixture
def taken():
    """Listen on two neighbouring ports."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                yield port
                return


def test_without_a_free_port_there_is_a_prompt_and_clear_error(tmp_path, taken):
    for ports in ({"worker_port_range": (taken, taken + 2)}, {"worker_port": taken}):
        with pytest.raises(InterchangeStartError, match=rf"port.*{taken}.*(in use|EADDRINUSE)"):
            pilot.kernel(tmp_path, pilot.htex(**ports))


def test_an_address_that_is_not_this_hosts_is_told(tmp_path):
    for address in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(InterchangeStartError, match=address):
            pilot.kernel(tmp_path, pilot.htex(address=address))


def test_a_manager_that_cannot_reach_the_interchange_says_what_it_tried(tmp_path):
    command = pilot.OVER_TCP.replace("{addresses}", "127.0.0.9,no.such.host.invalid")
    executor = pilot.htex(launch_cmd=command, address_probe_timeout=3)
    with pilot.kernel(tmp_path, executor) as kernel:
        error = kernel.submit(int, ()).exception(pilot.SOON)
        assert isinstance(error, BadStateException)
        for part in ("127.0.0.9: ECONNREFUSED", "no.such.host.invalid", str(executor._port), "EXIT CODE: 1"):
            assert part in str(error)
