"""The program of a node: its options, and its life with an interchange that a test plays."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.lease import MARGIN
from parsl.executors.high_throughput.messages import (
    DONE,
    RAISED,
    WORKER_LOST,
    Drained,
    Draining,
    Heartbeat,
    Leaving,
    Payload,
    Refused,
    Register,
    Registered,
    Results,
    Stop,
    Task,
    Tasks,
)
from parsl.executors.high_throughput.process_worker_pool import parse_arguments
from parsl.executors.high_throughput.segments import SegmentStore
from parsl.executors.high_throughput.streams import LENGTH
from parsl.serialize import facade
from parsl.version import VERSION
from tests.live import pilot

# -- options -----------------------------------------------------------------------------------------------------------


def test_the_options_of_earlier_releases_are_all_taken():
    line = (
        "-d --max_workers_per_node=4 -a 10.0.0.1,node.example -p 3 -c 0.5 -m 2.5 --port=54321 --cert_dir /certs "
        "--logdir=/logs --block_id=7 --hb_period=5 --address_probe_timeout=9 --hb_threshold=11 --drain_period=60 "
        "--cpu-affinity list:0:1 --enable_mpi_mode --mpi-launcher=srun --available-accelerators gpu0 gpu1"
    )
    options = parse_arguments(line.split())
    assert (
        vars(options).items()
        >= {
            "debug": True,
            "max_workers_per_node": 4,
            "addresses": ["10.0.0.1", "node.example"],
            "prefetch_capacity": 3,
            "cores_per_worker": 0.5,
            "mem_per_worker": 2.5,
            "port": 54321,
            "cert_dir": "/certs",
            "logdir": "/logs",
            "block_id": "7",
            "hb_period": 5,
            "address_probe_timeout": 9,
            "hb_threshold": 11,
            "drain_period": 60,
            "cpu_affinity": "list:0:1",
            "enable_mpi_mode": True,
            "mpi_launcher": "srun",
            "available_accelerators": ["gpu0", "gpu1"],
        }.items()
    )
    line = "-t 1 -r 2 --poll 10 --max_workers 3 -m None --cert_dir None --drain_period None"
    older = parse_arguments(line.split())
    assert (older.port, older.max_workers_per_node) == (1, 3)
    assert (older.mem_per_worker, older.cert_dir, older.drain_period) == (None, None, None)


def test_each_manager_has_a_name_of_its_own_unless_it_is_given_one():
    assert parse_arguments([]).uid != parse_arguments([]).uid
    assert parse_arguments(["-u", "me"]).uid == "me"


def test_an_option_that_is_none_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        parse_arguments(["--port", "many"])
    assert end.value.code == 2
    assert "--port" in capsys.readouterr().err


# -- a node ------------------------------------------------------------------------------------------------------------


class Node:
    """A manager process and the test's end of its connection.

    Args:
        folder: where logs go.
        options: further options of the manager.
    """

    def __init__(self, folder: Any, *options: str) -> None:
        self.store = SegmentStore()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(pilot.SOON)
        path = f"{self.store.folder}/managers"
        self.listener.bind(path)
        self.listener.listen()
        command = [
            *(sys.executable, "-m", "parsl.executors.high_throughput.process_worker_pool", "--logdir", str(folder)),
            *("--block_id", "3", "--uid", "node", "--max_workers_per_node", "1", "--cores_per_worker", "0.1"),
            *("--local-path", path, "--segments", self.store.folder, *options),
        ]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=pilot.script_environment(), start_new_session=True
        )
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(pilot.SOON)
        self.codec = messages.from_manager()
        self.functions: dict[int, bytes] = {}

    def receive(self) -> Any:
        """Return the manager's next message; None when it has closed the connection."""
        size = self.connection.recv(LENGTH.size, socket.MSG_WAITALL)
        return self.codec.decode(self.connection.recv(LENGTH.unpack(size)[0], socket.MSG_WAITALL)) if size else None

    def receive_a(self, kind: type) -> Any:
        """Return the manager's next message of a kind."""
        while not isinstance(message := self.receive(), kind):
            assert message is not None
        return message

    def send(self, message: Any) -> None:
        """Send the manager a message."""
        data = self.codec.encode(message)
        self.connection.sendall(LENGTH.pack(len(data)) + data)

    def run(self, number: int, function: Any, *args: Any) -> Results:
        """Have a worker make a call, and return the results that come next."""
        body, buffers = facade.pack_arguments(args, {})
        task = Task(number, number, self.store.payload(body, buffers))
        self.send(Tasks([task], {number: facade.serialize(function)}, []))
        results: Results = self.receive_a(Results)
        return results

    def value(self, results: Results) -> Any:
        """Return what the only result holds."""
        (result,) = results.results
        return facade.unpack(*self.store.open(result.payload))

    def end(self) -> tuple[int, str]:
        """Wait for the manager's end; return its exit code and what it wrote on standard error."""
        _, errors = self.process.communicate(timeout=pilot.SOON)
        return self.process.returncode, errors

    def close(self) -> None:
        """End what is left."""
        self.connection.close()
        self.listener.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.end()
        self.store.close()


@pytest.fixture
def make(tmp_path):
    nodes = []

    def make(*options: str) -> Node:
        nodes.append(Node(tmp_path, *options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def node(make):
    """A node that has registered."""
    node = make()
    node.receive_a(Register)
    node.send(Registered([""], True, node.store.folder))
    return node


def test_a_manager_presents_itself(make):
    node = make("--drain_period", "60", "-p", "5")
    about = node.receive()
    assert isinstance(about, Register)
    assert (about.uid, about.block_id, about.hostname) == ("node", "3", socket.gethostname())
    assert (about.workers, about.capacity) == (1, 6)
    assert (about.python_version, about.parsl_version) == (platform.python_version(), VERSION)
    assert about.protocol == messages.PROTOCOL_VERSION
    assert (about.token, about.pid) == (node.store.token, node.process.pid)
    assert about.seconds_left is None
    assert "cloudpickle" in about.packages


def test_a_manager_tells_how_long_its_block_lasts_and_drains_before_it_ends(make, monkeypatch):
    monkeypatch.setenv("PARSL_BLOCK_ENDS", str(int(time.time()) + 3600))
    left = make().receive_a(Register).seconds_left
    assert 3600 - MARGIN - pilot.SOON < left <= 3600 - MARGIN
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 3))
    node = make()
    assert 0 <= node.receive_a(Register).seconds_left <= 3
    node.send(Registered([""], True, node.store.folder))
    node.receive_a(Draining)
    node.send(Drained())
    assert node.end() == (0, "")


def test_a_node_runs_calls_and_ends_when_told(node):
    results = node.run(1, divmod, 7, 2)
    assert node.value(results) == (3, 1)
    assert (results.results[0].id, results.results[0].status) == (1, DONE)
    assert results.credit >= 1
    assert node.value(node.run(2, len, bytes(10**6))) == 10**6
    node.send(Stop())
    assert node.end() == (0, "")
    assert not [n for n in os.listdir(node.store.folder) if n.startswith("node-")]


def test_a_call_of_a_function_that_was_not_sent_fails_alone(node):
    node.send(Tasks([Task(5, 99, Payload(facade.pack_arguments((), {})[0]))], {}, []))
    results = node.receive_a(Results)
    assert results.results[0].status == RAISED
    wrapper, where = node.value(results)
    assert isinstance(wrapper.get_exception(), FileNotFoundError)
    assert "block 3" in where
    node.send(Tasks([], {}, [99]))
    assert node.value(node.run(6, int)) == 0


def test_what_is_no_message_is_passed_over(node):
    node.connection.sendall(LENGTH.pack(7) + b"garbage" + LENGTH.pack(0) + LENGTH.pack(2) + b"{}")
    assert node.value(node.run(1, int)) == 0
    node.send(Heartbeat())
    assert node.value(node.run(2, int)) == 0


def test_a_node_tells_of_lost_workers_and_has_new_ones(node):
    results = node.run(1, os._exit, 4)
    assert results.results[0].status == WORKER_LOST
    loss = messages.read_loss(results.results[0].payload)
    assert (loss.what, loss.hostname, loss.cause) == ("0", socket.gethostname(), "exit code 4")
    assert "worker_0.log" in loss.where
    assert node.value(node.run(2, int)) == 0


def test_a_manager_that_can_start_no_worker_takes_its_leave(make, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    # Under this name it does not find the libraries by itself.
    environment = {**pilot.script_environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    monkeypatch.setattr(pilot, "script_environment", lambda: environment)
    node = make()
    node.receive_a(Register)
    node.send(Registered([""], True, node.store.folder))
    assert node.value(node.run(1, int)) == 0
    python.unlink()
    body, _ = facade.pack_arguments((5,), {})
    node.send(Tasks([Task(2, 2, Payload(body))], {2: facade.serialize(os._exit)}, []))
    assert "worker 0 cannot be started" in node.receive_a(Leaving).reason
    code, errors = node.end()
    assert code == 1
    assert "worker 0 cannot be started" in errors


def test_a_refused_manager_says_why_and_ends(make):
    node = make()
    node.receive_a(Register)
    node.send(Refused("you are too old"))
    code, errors = node.end()
    assert code == 1
    assert "you are too old" in errors


def test_a_manager_ends_with_its_interchange(node):
    assert node.value(node.run(1, int)) == 0
    node.connection.close()
    assert node.end() == (0, "")


def test_a_manager_that_loses_its_interchange_before_it_is_known_has_failed(make):
    node = make()
    node.receive_a(Register)
    node.connection.close()
    code, errors = node.end()
    assert code == 1
    assert "closed the connection" in errors


def test_a_manager_ends_after_silence(make):
    node = make("--hb_period", "0.1", "--hb_threshold", "0.5")
    node.receive_a(Register)
    node.send(Registered([""], True, node.store.folder))
    assert isinstance(node.receive(), Heartbeat)
    code, errors = node.end()
    assert code == 1
    assert "has not been heard of for" in errors


def test_a_manager_that_is_terminated_takes_its_leave(node):
    assert node.value(node.run(1, int)) == 0
    os.kill(node.process.pid, signal.SIGTERM)
    assert node.receive_a(Leaving).reason == "SIGTERM"
    assert node.end() == (0, "")


def test_a_draining_manager_ends_when_it_is_let_go(make):
    node = make("--drain_period", "0.2")
    node.receive_a(Register)
    node.send(Registered([""], True, node.store.folder))
    node.receive_a(Draining)
    assert node.value(node.run(1, int)) == 0
    node.send(Drained())
    assert node.end() == (0, "")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--cpu-affinity", "list:0:9999"], "9999"),
        (["-a", "127.0.0.1", "--port", "1", "--address_probe_timeout", "2"], "127.0.0.1: ECONNREFUSED"),
        (["--port", "1", "--address_probe_timeout", "1"], "no addresses were given"),
        (["-a", "127.0.0.1", "--port", "{port}", "--cert_dir", "/no/such/folder"], "/no/such/folder"),
    ],
    ids=["affinity", "nobody there", "no address", "no keys"],
)
def test_a_manager_that_cannot_start_says_why(tmp_path, options, told):
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = [o.format(port=server.getsockname()[1]) for o in options]
        command = [sys.executable, "-m", "parsl.executors.high_throughput.process_worker_pool", *options]
        done = subprocess.run(
            [*command, "--logdir", str(tmp_path), "--cores_per_worker", "0.1", "--max_workers_per_node", "2"],
            env=pilot.script_environment(),
            capture_output=True,
            text=True,
            timeout=pilot.SOON,
            check=False,
        )
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) < 20
