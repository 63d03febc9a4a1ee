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

from parsl.executors.errors import InvalidResourceSpecification
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
    Received,
    Refused,
    Register,
    Registered,
    Reintroduce,
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
from tests.executors.high_throughput.workers import ROOT
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
        environment: further variables of the manager.
    """

    def __init__(self, folder: Any, *options: str, environment: dict[str, str] | None = None) -> None:
        self.store = SegmentStore()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(pilot.SOON)
        path = f"{self.store.folder}/managers"
        self.listener.bind(path)
        self.listener.listen()
        environment = {**pilot.script_environment(), **(environment or {})}
        command = [
            *(sys.executable, "-m", "parsl.executors.high_throughput.process_worker_pool", "--logdir", str(folder)),
            *("--block_id", "3", "--uid", "node", "--max_workers_per_node", "1", "--cores_per_worker", "0.1"),
            *("--local-path", path, "--segments", self.store.folder, *options),
        ]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        self.accept()
        self.codec = messages.from_manager()
        self.functions: dict[int, bytes] = {}

    def accept(self) -> None:
        """Take the manager's next connection."""
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(pilot.SOON)

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

    def give(self, number: int, function: Any, *args: Any, resources: dict[str, Any] | None = None) -> None:
        """Have a worker make a call."""
        body, buffers = facade.pack_arguments(args, {})
        task = Task(number, number, self.store.payload(body, buffers), resources)
        self.send(Tasks([task], {number: facade.serialize(function)}, []))

    def run(self, number: int, function: Any, *args: Any) -> Results:
        """Have a worker make a call, and return the results that come next."""
        self.give(number, function, *args)
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

    def make(*options: str, **more: Any) -> Node:
        nodes.append(Node(tmp_path, *options, **more))
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


def test_a_manager_ends_with_the_script(node):
    assert node.value(node.run(1, int)) == 0
    node.connection.close()
    # As who made the store does at its end.
    node.store.close()
    assert node.end() == (0, "")


def test_a_manager_goes_to_the_next_interchange_with_what_it_has(node, tmp_path):
    gate = pilot.Gate(tmp_path / "gate")
    node.give(1, int)
    first = node.receive_a(Results)
    node.give(2, pilot.wait_at, gate.path)
    node.connection.close()
    node.accept()
    back = node.receive_a(Register)
    assert sorted(back.tasks) == [1, 2], "nobody has said that the result of 1 has arrived"
    node.send(Registered([""], True, node.store.folder))
    again = node.receive_a(Results)
    assert (again.results, again.number) == (first.results, first.number)
    node.send(Received(first.number))
    gate.let(1)
    assert [r.id for r in node.receive_a(Results).results] == [2]
    node.connection.close()
    node.accept()
    assert node.receive_a(Register).tasks == [2]
    gate.close()


def test_an_interchange_that_does_not_know_a_manager_asks_it_to_register(node):
    node.send(Reintroduce())
    assert node.receive_a(Register).tasks == []


def test_a_manager_that_loses_its_interchange_before_it_is_known_has_failed(make):
    node = make()
    node.receive_a(Register)
    node.connection.close()
    node.store.close()
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


# -- a block of MPI tasks ----------------------------------------------------------------------------------------------


@pytest.fixture
def mpi_block(make, tmp_path):
    """The manager of a block of four nodes, with two workers."""
    hosts = tmp_path / "hosts"
    hosts.write_text("a\nb\nc\nd\n")
    options = ["--enable_mpi_mode", "--mpi-launcher=srun", "--max_workers_per_node=2"]
    node = make(*options, environment={"PBS_NODEFILE": str(hosts)})
    about = node.receive_a(Register)
    assert (about.workers, about.capacity) == (2, 2)
    node.send(Registered([ROOT, ""], True, node.store.folder))
    return node


def test_mpi_tasks_get_nodes_and_the_interchange_hears_how_many_more_would(mpi_block, tmp_path):
    gate = pilot.Gate(tmp_path / "gate")
    try:
        three = {"num_nodes": 3, "ranks_per_node": 2}
        mpi_block.give(1, pilot.wait_at, gate.path, resources=three)
        # As before, one more is wanted. It can't start, and yet another is asked for, which may fill the gap.
        mpi_block.give(2, os.getenv, "PARSL_MPI_PREFIX", resources={"num_nodes": 4, "ranks_per_node": 1})
        results = mpi_block.receive_a(Results)
        assert (results.results, results.credit) == ([], 3)
        gate.let(1)
        first = mpi_block.receive_a(Results)
        assert [r.id for r in first.results] == [1]
        second = first if len(first.results) > 1 else mpi_block.receive_a(Results)
        assert mpi_block.value(second) == "srun --ntasks 4 --ntasks-per-node 1 --nodes 4 --nodelist a,b,c,d"
    finally:
        gate.close()


def test_an_mpi_task_that_is_too_large_for_the_block_fails_at_once(mpi_block):
    mpi_block.give(1, int, resources={"num_nodes": 5, "ranks_per_node": 1})
    results = mpi_block.receive_a(Results)
    wrapper, where = mpi_block.value(results)
    assert isinstance(wrapper.get_exception(), InvalidResourceSpecification)
    assert "needs 5 nodes, more than the block has (4: a, b, c, d)" in str(wrapper.get_exception())
    assert "the manager on host" in where


def launch_and_die(trap, mark, fifo):
    """Start what stands for a launcher of ranks, in a session of its own, and leave it behind."""
    script = f"trap '{trap}' TERM; echo up > {fifo}; sleep 600 & while :; do wait; done"
    subprocess.Popen(["/bin/bash", "-c", script], start_new_session=True)
    with open(fifo) as file:
        file.read()
    os._exit(4)


@pytest.mark.parametrize(
    ("trap", "seconds"),
    [("echo told > {mark}; exit", (0, 4)), pytest.param("echo told > {mark}", (4, 15), marks=pytest.mark.slow)],
    ids=["it ends", "it does not"],
)
def test_a_launcher_that_a_lost_worker_leaves_may_end_its_ranks_before_their_nodes_are_free(
    mpi_block, tmp_path, trap, seconds
):
    mark, fifo = tmp_path / "mark", tmp_path / "fifo"
    os.mkfifo(fifo)
    everything = {"num_nodes": 4, "ranks_per_node": 1}
    began = time.monotonic()
    mpi_block.give(1, launch_and_die, trap.format(mark=mark), str(mark), str(fifo), resources=everything)
    mpi_block.give(2, os.path.exists, str(mark), resources=everything)
    lost = next(r for r in iter(lambda: mpi_block.receive_a(Results), None) if r.results)
    assert [r.status for r in lost.results] == [WORKER_LOST]
    assert seconds[0] <= time.monotonic() - began < seconds[1]
    assert mpi_block.value(next(r for r in iter(lambda: mpi_block.receive_a(Results), None) if r.results)) is True


def test_there_are_not_more_workers_than_nodes(make, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("a\na\n")
    node = make("--enable_mpi_mode", "--max_workers_per_node=8", environment={"PBS_NODEFILE": str(hosts)})
    assert node.receive_a(Register).workers == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--cpu-affinity", "list:0:9999"], "9999"),
        (["--enable_mpi_mode"], "the nodes of this block are not known: none of PBS_NODEFILE"),
        (["-a", "127.0.0.1", "--port", "1", "--address_probe_timeout", "2"], "127.0.0.1: ECONNREFUSED"),
        (["--port", "1", "--address_probe_timeout", "1"], "no addresses were given"),
        (["-a", "127.0.0.1", "--port", "{port}", "--cert_dir", "/no/such/folder"], "/no/such/folder"),
    ],
    ids=["affinity", "no nodes", "nobody there", "no address", "no keys"],
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
