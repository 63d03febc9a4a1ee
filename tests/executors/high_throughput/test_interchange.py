"""The interchange process between a real client and managers that a test plays."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zmq

from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.client import interchange_command
from parsl.executors.high_throughput.errors import ManagerLost
from parsl.executors.high_throughput.interchange import Interchange, PortError, bind
from parsl.executors.high_throughput.messages import (
    DONE,
    Drained,
    Draining,
    Heartbeat,
    Leaving,
    Monitoring,
    Payload,
    Refused,
    Register,
    Registered,
    Reintroduce,
    Result,
    Results,
    Segment,
    Stop,
    Tasks,
)
from parsl.executors.high_throughput.streams import LENGTH
from parsl.serialize import facade
from tests.live import pilot

MB = 1024 * 1024


class FakeManager:
    """What a manager says and hears, in the hands of a test.

    Args:
        executor: whose interchange it connects to.
        uid: its name.
    """

    def __init__(self, executor: Any, uid: str) -> None:
        self.executor = executor
        self.uid = uid
        self.codec = messages.to_manager()

    def register(self, **changes: Any) -> Any:
        """Present itself; return the answer."""
        fields: dict[str, Any] = {
            "uid": self.uid,
            "protocol": messages.PROTOCOL_VERSION,
            "block_id": "0",
            "hostname": f"host-{self.uid}",
            "workers": 1,
            "capacity": 2,
            "python_version": ".".join(map(str, sys.version_info[:3])),
            "parsl_version": "2026.1.1",
            "segments": "",
            "token": self.executor._client.store.token,
            "pid": 1,
        }
        self.send(Register(**{**fields, **changes}))
        return self.receive()

    def tasks(self) -> Tasks:
        """Return the next tasks."""
        message = self.receive()
        assert isinstance(message, Tasks)
        return message

    def answer(self, *numbers: int, value: object = "done", credit: int = 2) -> None:
        """End calls."""
        body = facade.pack_result(value)[0]
        self.send(Results([Result(n, DONE, Payload(body)) for n in numbers], credit))


class LocalManager(FakeManager):
    """One of this node, on a stream."""

    def __init__(self, executor: Any, uid: str = "local") -> None:
        super().__init__(executor, uid)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(pilot.SOON)
        self.connection.connect(f"{executor._client.store.folder}/managers")

    def send(self, message: Any) -> None:
        """Send a message."""
        data = self.codec.encode(message)
        self.connection.sendall(LENGTH.pack(len(data)) + data)

    def receive(self) -> Any:
        """Return the next message, or None at the end of the stream."""
        size = self.connection.recv(LENGTH.size, socket.MSG_WAITALL)
        return self.codec.decode(self.connection.recv(LENGTH.unpack(size)[0], socket.MSG_WAITALL)) if size else None

    def close(self) -> None:
        """Close the stream."""
        self.connection.close()


class RemoteManager(FakeManager):
    """One of another node, on a zmq socket."""

    def __init__(self, executor: Any, uid: str = "remote") -> None:
        super().__init__(executor, uid)
        self.context = zmq.Context()
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.linger = 0
        self.dealer.identity = uid.encode()
        self.dealer.connect(f"tcp://127.0.0.1:{executor._port}")
        self.frames: list[bytes] = []

    def send(self, message: Any, *frames: bytes) -> None:
        """Send a message, with buffers as frames."""
        self.dealer.send_multipart([self.codec.encode(message), *frames])

    def receive(self) -> Any:
        """Return the next message; its frames are kept."""
        assert self.dealer.poll(pilot.SOON * 1000)
        self.frames = self.dealer.recv_multipart()
        return self.codec.decode(self.frames[0])

    def register(self, **changes: Any) -> Any:
        """Present itself, without knowing the client's store; return the answer."""
        return super().register(**{"token": "", **changes})

    def close(self) -> None:
        """Close the socket."""
        self.dealer.close()
        self.context.term()


@pytest.fixture
def executor(tmp_path):
    executor = pilot.htex(
        provider=pilot.provider(init_blocks=0), encrypted=False, heartbeat_period=1, heartbeat_threshold=2
    )
    executor.run_dir = str(tmp_path)
    with executor:
        executor.start()
        yield executor


@pytest.fixture(params=[LocalManager, RemoteManager])
def manager(request, executor):
    manager = request.param(executor)
    assert isinstance(manager.register(), Registered)
    yield manager
    manager.close()


@pytest.fixture
def local(executor):
    manager = LocalManager(executor)
    yield manager
    manager.close()


@pytest.fixture
def remote(executor):
    manager = RemoteManager(executor)
    yield manager
    manager.close()


def log(executor) -> str:
    return Path(executor.run_dir, "htex", "interchange.log").read_text()


# -- tasks and results -------------------------------------------------------------------------------------------------


def test_a_manager_is_told_what_it_needs(executor, local, remote):
    here, there = local.register(), remote.register()
    assert (here.shares_segments, here.segments) == (True, executor._client.store.folder)
    assert (there.shares_segments, there.segments) == (False, "")
    assert here.sys_path == there.sys_path
    assert "" in here.sys_path
    assert {m["manager"] for m in executor.connected_managers()} == {"local", "remote"}


def test_a_manager_gets_what_it_has_credit_for_and_functions_once(executor, manager):
    futures = [executor.submit(len, {}, "abc") for _ in range(5)]
    first = manager.tasks()
    numbers = [t.id for t in first.tasks]
    while len(numbers) < 2:
        numbers += [t.id for t in manager.tasks().tasks]
    assert numbers == [1, 2]
    assert list(first.functions) == [1]
    manager.answer(1, credit=3)
    more = manager.tasks()
    assert [t.id for t in more.tasks] == [3, 4]
    assert more.functions == {}
    manager.answer(2, 3, 4, value=[1, 2])
    assert [t.id for t in manager.tasks().tasks] == [5]
    manager.answer(5)
    assert [f.result(pilot.SOON) for f in futures] == ["done", [1, 2], [1, 2], [1, 2], "done"]


def test_large_buffers_leave_the_node_as_frames_and_come_back_so(executor, remote):
    remote.register()
    future = executor.submit(len, {}, bytes(MB))
    (task,) = remote.tasks().tasks
    segment = task.payload.segment
    assert segment.name == "frame:1"
    assert len(remote.frames[1]) == sum(segment.sizes) > MB
    assert facade.unpack(remote.frames[1][: segment.sizes[0]], [remote.frames[1][segment.sizes[0] :]]) == (
        (bytes(MB),),
        {},
    )
    body, buffers = facade.pack_result(b"x" * MB)
    data = [body, *(bytes(b) for b in buffers)]
    back = Segment("frame:1", [len(d) for d in data], [False] * len(data))
    remote.send(Results([Result(task.id, DONE, Payload(b"", back))], 1), b"".join(data))
    assert future.result(pilot.SOON) == b"x" * MB
    assert not [n for n in os.listdir(executor._client.store.folder) if n[0].isdigit()]


def test_arguments_that_are_gone_are_that_calls_error(executor, remote):
    remote.register(workers=2)
    # Both wait in the interchange until the manager wants some.
    held = executor.submit(int, {})
    remote.tasks()
    bad = executor.submit(len, {}, bytes(MB))
    remote.tasks()
    second = [executor.submit(len, {}, bytes(MB)), executor.submit(int, {})]
    executor._client.commands.run("OUTSTANDING_C")
    payload = executor._client._large.held[3]
    executor._client.store.drop(payload)
    remote.answer(1, 2, credit=2)
    assert [t.id for t in remote.tasks().tasks] == [4]
    error = second[0].exception(pilot.SOON)
    assert isinstance(error, FileNotFoundError)
    assert "interchange" in error.__notes__[0]
    remote.answer(4)
    assert [f.result(pilot.SOON) for f in (held, bad, second[1])] == ["done"] * 3


def test_a_result_of_a_call_that_a_manager_does_not_have_is_not_its_to_give(executor, local, remote):
    local.register()
    future = executor.submit(int, {})
    local.tasks()
    remote.register()
    remote.answer(1, value="stolen")
    remote.send(Heartbeat())
    assert isinstance(remote.receive(), Heartbeat)
    local.answer(1, value="mine")
    assert future.result(pilot.SOON) == "mine"


def test_monitoring_messages_are_passed_on_for_known_managers_only(executor, local, remote):
    seen = []
    executor.monitoring_messages = type("Messages", (), {"put": staticmethod(seen.append)})
    remote.send(Monitoring(b"stranger's"))
    assert isinstance(remote.receive(), Reintroduce)
    local.register()
    local.send(Monitoring(b"ours"))
    pilot.wait_for(lambda: seen)
    assert seen == [b"ours"]


# -- managers that go --------------------------------------------------------------------------------------------------


def test_heartbeats_are_answered_and_keep_a_manager(executor, manager):
    manager.send(Heartbeat())
    assert isinstance(manager.receive(), Heartbeat)
    assert [m["manager"] for m in executor.connected_managers()] == [manager.uid]


def test_a_silent_manager_is_given_up_and_its_calls_with_it(executor, manager):
    future = executor.submit(int, {})
    manager.tasks()
    error = future.exception(pilot.SOON)
    assert isinstance(error, ManagerLost)
    assert (error.manager_id, error.hostname) == (manager.uid, f"host-{manager.uid}")
    assert "not heard of" in error.cause
    # When it comes back it is told that it is not known any more.
    manager.send(Heartbeat())
    assert isinstance(manager.receive(), Refused)
    manager.answer(1)
    assert isinstance(manager.receive(), Refused)


def test_a_manager_that_leaves_fails_its_calls_at_once(executor, manager):
    future = executor.submit(int, {})
    manager.tasks()
    manager.send(Leaving("the node is on fire"))
    error = future.exception(pilot.SOON)
    assert isinstance(error, ManagerLost)
    assert error.cause == "the node is on fire"
    pilot.wait_for(lambda: executor.connected_workers == 0)


def test_a_stream_that_ends_is_the_managers_end(executor, local):
    local.register()
    future = executor.submit(int, {})
    local.tasks()
    local.close()
    assert "connection has ended" in str(future.exception(pilot.SOON))


def test_a_draining_manager_gets_no_more_and_is_let_go(executor, manager):
    first = executor.submit(int, {})
    manager.tasks()
    manager.send(Draining())
    pilot.wait_for(lambda: [m["draining"] for m in executor.connected_managers()] == [True])
    second = executor.submit(int, {})
    manager.answer(1)
    assert isinstance(manager.receive(), Drained)
    assert first.result(pilot.SOON) == "done"
    assert executor.connected_managers() == []
    assert not second.done()


def test_a_manager_that_registers_anew_has_lost_what_it_had(executor, remote):
    remote.register()
    future = executor.submit(int, {})
    remote.tasks()
    assert isinstance(remote.register(block_id="1"), Registered)
    assert isinstance(future.exception(pilot.SOON), ManagerLost)
    assert [m["block_id"] for m in executor.connected_managers()] == ["1"]


def test_at_the_end_all_managers_are_told(executor, local, remote):
    local.register()
    remote.register()
    executor.shutdown()
    assert isinstance(local.receive(), Stop)
    assert local.receive() is None
    assert isinstance(remote.receive(), Stop)


def test_when_the_client_vanishes_all_managers_are_told_and_its_store_is_removed(executor, local):
    local.register()
    folder, process = executor._client.store.folder, pilot.interchange_of(executor)
    executor.loop.call(executor._client._stream.close)
    assert isinstance(local.receive(), Stop)
    assert not pilot.still_there([process], 5)
    assert not os.path.exists(folder)


def test_what_a_stranger_on_the_file_system_socket_sends_is_passed_over(executor, local):
    for data in (b"garbage", b"{}", b""):
        local.connection.sendall(LENGTH.pack(len(data)) + data)
    local.send(Heartbeat())
    local.answer(1)
    assert isinstance(local.register(), Registered)
    assert "who has not registered" in log(executor)
    stranger = LocalManager(executor, "hangs up")
    stranger.close()
    assert [m["manager"] for m in executor.connected_managers()] == ["local"]


def test_a_manager_of_another_version_is_refused_on_both_ways(executor, manager):
    other = type(manager)(executor, "old")
    future = executor.submit(int, {})
    refused = other.register(python_version="2.7.18")
    assert isinstance(refused, Refused)
    assert "2.7.18" in refused.reason
    assert isinstance(future.exception(pilot.SOON), BadStateException)
    other.close()


# -- the program -------------------------------------------------------------------------------------------------------


def test_too_many_managers_for_the_files_that_it_may_open_are_named(tmp_path, caplog):
    """With 48 files there is room for 24 managers; the script's own log says so before it is full."""
    command = ["bash", "-c", 'ulimit -n 48 && exec "$@"', "bash", *interchange_command()]
    executor = pilot.htex(provider=pilot.provider(init_blocks=0), encrypted=False, interchange_launch_cmd=command)
    executor.run_dir = str(tmp_path)
    with executor:
        executor.start()
        managers = [RemoteManager(executor, f"remote-{number}") for number in range(22)]
        for manager in managers:
            assert isinstance(manager.register(), Registered)
        pilot.wait_for(lambda: "open files raised" in caplog.text)
        assert "22 managers are connected to the interchange and only a few more can connect" in caplog.text
        assert "it may have 48 files open, which allows 24" in caplog.text
        # They all work.
        future = executor.submit(len, {}, [1])
        frames = zmq.Poller()
        for manager in managers:
            frames.register(manager.dealer, zmq.POLLIN)
        ((dealer, _),) = frames.poll(pilot.SOON * 1000)
        chosen = next(m for m in managers if m.dealer is dealer)
        chosen.answer(chosen.tasks().tasks[0].id)
        assert future.result(pilot.SOON) == "done"
        for manager in managers:
            manager.close()


def test_each_manager_of_another_node_takes_one_descriptor_and_no_thread(executor):
    process = pilot.interchange_of(executor)
    first = RemoteManager(executor, "first")
    first.register()
    fds, threads = process.num_fds(), process.num_threads()
    others = [RemoteManager(executor, f"other-{number}") for number in range(10)]
    for other in others:
        other.register()
    assert (process.num_fds(), process.num_threads()) == (fds + 10, threads)
    for manager in (first, *others):
        manager.close()


def test_without_a_configuration_the_program_ends_with_an_error():
    command = [sys.executable, "-m", "parsl.executors.high_throughput.interchange"]
    done = subprocess.run(
        command, input=b"", capture_output=True, env=pilot.script_environment(), timeout=pilot.SOON, check=False
    )
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


def test_ctrl_c_is_the_clients_business(executor, local):
    local.register()
    pilot.kill(pilot.interchange_of(executor), signal.SIGINT)
    assert executor.submit(int, {}) is not None
    assert [t.id for t in local.tasks().tasks] == [1]


def test_the_interchange_is_never_given_objects_to_unpickle():
    """What managers send is data; nothing in it makes the interchange run code."""
    source = Path(sys.modules[Interchange.__module__].__file__).read_text()
    assert source.count("pickle.loads") == 1, "the configuration, from the process that started it"
    with pytest.raises(messages.msgspec.DecodeError):
        messages.from_manager().decode(pickle.dumps(print))


@pytest.fixture
def router():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        yield router


def test_a_free_port_of_the_range_is_found_however_few_there_are(router):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        span = (port - 2, port + 3) if port < 65000 else (port - 3, port + 1)
        found = bind(router, "127.0.0.1", None, span)
        assert span[0] <= found < span[1]
        assert found != port
        with socket.create_connection(("127.0.0.1", found)) as client:
            assert select.select([], [client], [], 5)[1]


def test_a_given_port_is_taken_or_told(router):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortError, match=f"worker_port {port}"):
            bind(router, "127.0.0.1", port, (1, 2))
    assert bind(router, "localhost", port, (1, 2)) == port
