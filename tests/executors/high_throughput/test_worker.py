"""A real worker process, spoken to over its sockets."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import traceback

import msgspec
import psutil
import pytest

from parsl import watchdog
from parsl.app.errors import UnpicklableException
from parsl.executors.high_throughput import worker as worker_module
from parsl.executors.high_throughput.messages import DONE, RAISED, Payload
from parsl.executors.high_throughput.worker import Functions, receive, search_path, where_is
from parsl.serialize import facade
from parsl.serialize.errors import DeserializationError, SerializationError
from tests.executors.high_throughput.workers import ROOT, SECONDS, LiveWorker, packed
from tests.live import pilot


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """One worker for all tests that it survives."""
    worker = LiveWorker(tmp_path_factory.mktemp("worker")).introduce()
    yield worker
    worker.close()


@pytest.fixture
def mortal(tmp_path):
    """A worker for one test, not introduced."""
    worker = LiveWorker(tmp_path)
    yield worker
    worker.close()


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, "é\0", b"\xff", [1, {"a": (2.5, {3})}], b"x" * 3_000_000, "y" * 50_000])
def test_arguments_and_results(worker, value):
    assert worker.run(lambda x, *, y: (y, x), value, y=value) == (value, value)


def test_large_buffers_come_as_what_they_were(worker):
    def swap(fixed, loose):
        loose[0] = 7
        return {"fixed": fixed, "loose": loose}

    back = worker.run(swap, bytes(200_000), bytearray(200_000))
    assert back == {"fixed": bytes(200_000), "loose": b"\x07" + bytes(199_999)}
    back["loose"][1] = 8


def test_segments_of_results_only_are_left_by_the_worker(worker):
    before = {*os.listdir(worker.store.folder)}
    number = worker.call(lambda data: data[::-1], b"ab" * 100_000)
    result = worker.result()
    assert (result.id, result.status, result.payload.body) == (number, DONE, b"")
    assert 0 < result.seconds < SECONDS
    left = {*os.listdir(worker.store.folder)} - before - {result.payload.segment.name}
    assert len(left) == 1, "the arguments belong to whoever sent them"
    worker.store.drop(result.payload)
    for name in left:
        os.unlink(os.path.join(worker.store.folder, name))


def test_a_whole_call_in_one_payload(worker):
    message = facade.pack_apply_message(divmod, (17, 5), {})
    worker.give(Payload(message))
    assert worker.outcome() == (3, 2)


def test_calls_are_made_in_the_order_of_the_mailbox(worker):
    numbers = [worker.call(int, str(n)) for n in range(20)]
    results = [worker.result() for _ in range(20)]
    assert [r.id for r in results] == numbers


def test_a_call_is_claimed_before_it_runs(worker, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def wait(path):
        with open(path) as file:
            return file.read()

    number = worker.call(wait, str(gate))
    with open(gate, "w") as file:  # opens when the function does
        assert worker.claim() == number
        file.write("now")
    assert worker.outcome() == "now"


# -- variables of one call ---------------------------------------------------------------------------------------------


def look(*names):
    return [os.environ.get(name) for name in names]


def packed_variables(**variables):
    return Payload(msgspec.msgpack.encode(variables))


def test_a_call_has_variables_of_its_own_and_the_next_has_not(worker):
    worker.call(lambda: os.environ.update(KEPT="before", CHANGED="before") or os.environ.pop("NEW", None))
    worker.outcome()
    worker.call(look, "KEPT", "CHANGED", "NEW", within=packed_variables(CHANGED="1", NEW="2"))
    assert worker.outcome() == ["before", "1", "2"]
    assert worker.run(look, "KEPT", "CHANGED", "NEW") == ["before", "before", None]


def test_a_program_of_the_call_finds_them(worker):
    worker.call(lambda: subprocess.check_output(["printenv", "NEW"], text=True), within=packed_variables(NEW="2"))
    assert worker.outcome() == "2\n"


@pytest.mark.parametrize(
    "meddle", [lambda: 1 / 0, lambda: os.environ.update(NEW="mine"), lambda: os.environ.pop("NEW")]
)
def test_they_go_however_the_call_ends(worker, meddle):
    worker.call(meddle, within=packed_variables(NEW="2"))
    worker.store.drop(worker.result().payload)
    assert worker.run(look, "NEW") == [None]


def test_many_variables_lie_in_the_store_until_they_are_read(worker):
    before = os.listdir(worker.store.folder)
    long = worker.store.payload(b"", [msgspec.msgpack.encode({"NEW": "x" * 100_000})])
    assert long.segment is not None
    worker.call(look, "NEW", within=long)
    payload = worker.result().payload
    worker.store.drop(payload)
    assert os.listdir(worker.store.folder) == before
    worker.call(look, "NEW", within=long)
    with pytest.raises(FileNotFoundError):
        worker.outcome()
    assert worker.run(look, "NEW") == [None]


# -- errors ------------------------------------------------------------------------------------------------------------


class Trouble(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.a = a


def deep():
    raise Trouble("this", "that")


def fail():
    try:
        deep()
    except Trouble as e:
        raise ValueError("wrong") from e


def test_an_exception_comes_as_itself_with_the_remote_traceback(worker):
    with pytest.raises(ValueError, match="wrong") as caught:
        worker.run(fail)
    text = "".join(traceback.format_exception(caught.value))
    assert "in deep" in text
    assert "in fail" in text
    assert "raise Trouble(" in text
    assert "high_throughput/worker.py" not in text
    assert type(caught.value.__cause__) is Trouble
    assert caught.value.__cause__.a == "this"


def test_an_exception_says_where_it_was_raised(worker):
    with pytest.raises(ValueError, match="wrong") as caught:
        worker.run(fail)
    assert socket.gethostname() in caught.value.where
    assert f"process {worker.process.pid}" in caught.value.where


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("with a generator", (i for i in ()))


class Unprintable(Exception):
    def __init__(self):
        super().__init__(i for i in ())

    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


@pytest.mark.parametrize("kind", [Unpicklable, Unprintable])
def test_an_exception_that_cannot_travel_is_described(worker, kind):
    def fail_with_it():
        raise kind

    with pytest.raises(UnpicklableException) as caught:
        worker.run(fail_with_it)
    assert kind.__name__ in str(caught.value)
    assert "fail_with_it" in caught.value.formatted_traceback
    assert worker.run(int, "5") == 5


class Plain(BaseException):
    pass


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, Plain, MemoryError, StopIteration])
def test_what_is_no_exception_is_a_result_all_the_same(worker, kind):
    def fail_with_it():
        raise kind("why")

    with pytest.raises(kind, match="why"):
        worker.run(fail_with_it)


def test_endless_recursion_is_the_error_of_its_call(worker):
    def endless(n):
        return endless(n + 1)

    with pytest.raises(RecursionError):
        worker.run(endless, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: {"a": [1, (i for i in ())]}, ["the result['a'][1]", "generator"]),
        (lambda: __import__("socket").socket(), ["the result (", "socket"]),
        (lambda: __import__("sys")._getframe(), ["the result (", "frame"]),
    ],
)
def test_a_result_that_cannot_travel_is_named(worker, make, words):
    with pytest.raises(SerializationError) as caught:
        worker.run(make)
    for word in words:
        assert word in str(caught.value)


def test_arguments_that_are_no_pickle(worker):
    worker.give(Payload(b"V1\ngarbage"), function=worker.call(int, "1"))
    assert worker.outcome() == 1
    with pytest.raises(DeserializationError):
        worker.outcome()


def test_functions_that_are_missing_or_garbage(worker):
    worker.give(packed(()), function=999_999)
    with pytest.raises(FileNotFoundError):
        worker.outcome()
    with open(f"{worker.folder}/f888888", "wb") as file:
        file.write(b"V1\ngarbage")
    worker.give(packed(()), function=888_888)
    with pytest.raises(DeserializationError):
        worker.outcome()


def test_a_segment_that_is_gone(worker):
    payload = worker.store.payload(b"V1\n", [b"x" * 100_000])
    worker.store.drop(payload)
    worker.give(payload, function=worker.call(int, "1"))
    assert worker.outcome() == 1
    with pytest.raises(FileNotFoundError):
        worker.outcome()


def test_a_large_result_for_which_there_is_no_place(mortal):
    mortal.introduce()
    shutil.rmtree(mortal.store.folder)
    with pytest.raises(OSError, match="no room for 1000"):
        mortal.run(bytes, 1_000_000)
    assert mortal.run(int, "5") == 5


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "status"), [(7, 7), (0, 0), (None, 0), ("last words", 1)])
def test_system_exit_ends_the_process(mortal, code, status):
    mortal.introduce()
    number = mortal.call(sys.exit, code)
    returncode, errors = mortal.ended()
    assert returncode == status
    assert ("last words" in errors) == (code == "last words")
    assert mortal.claim() == number
    assert receive(mortal.answers) == b""
    assert mortal.last_words().startswith("SystemExit(")


def test_a_crash_and_where_it_was_are_told(mortal):
    def crash():
        import ctypes
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(1)

    mortal.introduce()
    mortal.call(crash)
    returncode, _ = mortal.ended()
    assert returncode == -signal.SIGSEGV
    assert "in crash" in watchdog.frames(mortal.last_words(), "worker.py", "limits.py")


def test_a_worker_that_is_to_be_killed_begins_nothing_more(mortal, tmp_path):
    mortal.introduce()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    first = mortal.call(lambda path: open(path).read(), str(gate))  # noqa: SIM115 - of the worker, which ends
    with open(gate, "w"):  # opens when the call has begun
        second = mortal.call(os.mkdir, str(tmp_path / "begun"))
        mortal.doom(first)
    assert mortal.result().id == first
    pilot.wait_for(lambda: mortal.claim() == second and psutil.Process(mortal.process.pid).status() == "sleeping")
    mortal.process.kill()
    assert mortal.ended()[0] == -signal.SIGKILL
    assert not (tmp_path / "begun").exists()


def test_the_end_of_the_mailbox_ends_the_worker(mortal):
    mortal.introduce()
    mortal.mail.close()
    assert mortal.ended() == (0, "")


def test_the_end_of_both_ends_during_a_call_ends_the_worker_after_it(mortal, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    mortal.introduce().call(lambda path: open(path).close(), str(gate))
    with open(gate, "w"):
        mortal.mail.close()
        mortal.answers.close()
    assert mortal.ended() == (0, "")


def test_a_manager_that_is_gone_before_the_setup(mortal):
    mortal.answers.close()
    mortal.mail.close()
    assert mortal.ended() == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")
def test_a_worker_whose_manager_is_another_process_ends(tmp_path):
    worker = LiveWorker(tmp_path, manager=1)
    try:
        code, errors = worker.ended()
        assert code == 1
        assert errors == "the manager is gone\n"
    finally:
        worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")
def test_a_busy_worker_dies_with_its_manager(tmp_path):
    script = """
        import signal, sys
        folder, root = sys.argv[1:]
        sys.path.insert(0, root)
        from tests.executors.high_throughput.workers import LiveWorker
        worker = LiveWorker(folder).introduce()
        print(worker.process.pid, worker.store.folder, flush=True)
        worker.call(lambda path: (open(path, "w").close(), __import__("signal").pause()), folder + "/up")
        signal.pause()
        """
    os.mkfifo(tmp_path / "up")
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), ROOT]
    manager = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with manager:
        pid, folder = manager.stdout.readline().split()
        descriptor = os.pidfd_open(int(pid))
        with open(tmp_path / "up"):  # opens when the call runs
            manager.kill()
        ended = select.select([descriptor], [], [], SECONDS)[0]
    os.close(descriptor)
    shutil.rmtree(folder)
    assert ended


# -- what a call finds around it ---------------------------------------------------------------------------------------


def test_a_call_does_not_find_the_worker_in_main(worker):
    def look():
        import __main__

        return sys.argv, sorted(n for n in vars(__main__) if not n.startswith("__"))

    argv, names = worker.run(look)
    assert argv == [""]
    assert names == []


def test_sockets_are_not_inherited_by_what_a_call_starts(worker):
    def inheritable():
        found = []
        for fd in range(3, 100):
            try:
                if os.get_inheritable(fd):
                    found.append(fd)
            except OSError:
                continue
        return found

    assert worker.run(inheritable) == []


def test_modules_of_the_script_are_found_in_its_order(tmp_path):
    script, site = tmp_path / "script", tmp_path / "site"
    for folder, value in ((script, 1), (site, 2)):
        folder.mkdir()
        (folder / "which_one.py").write_text(f"value = {value}\n")
    worker = LiveWorker(tmp_path)
    try:
        worker.introduce([str(script), "", str(site)])
        assert worker.run(lambda: __import__("which_one").value) == 1
        path = worker.run(lambda: sys.path)
        assert path[0] == str(script)
        assert path[-1] == str(site)
        assert os.getcwd() not in path
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("script", "own", "merged"),
    [
        (["/s", "", "/lib", "/site"], ["/lib", "/site"], ["/s", "/lib", "/site"]),
        (["/s", "/p", "", "/lib", "/site", "/x"], ["/wl", "/ws"], ["/s", "/p", "/wl", "/ws", "/lib", "/site", "/x"]),
        (["/s"], ["/lib"], ["/s", "/lib"]),
        ([], ["/lib"], ["/lib"]),
        (["/lib", "", "/s"], ["/s", "/lib"], ["/lib", "/s"]),
    ],
)
def test_search_path(script, own, merged):
    assert search_path(script, own) == merged


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no processes")
def test_a_worker_is_pinned_and_keeps_a_log(tmp_path):
    core = min(os.sched_getaffinity(0))
    about = {"PARSL_WORKER_CORES": str(core), "PARSL_WORKER_LOGDIR": str(tmp_path), "PARSL_WORKER_RANK": "0"}
    worker = LiveWorker(tmp_path, {**about, "PARSL_WORKER_DEBUG": "1"})
    try:
        worker.introduce()
        assert worker.run(os.sched_getaffinity, 0) == {core}
        log = (tmp_path / "worker_0.log").read_text()
        assert f"Worker 0 begins as process {worker.process.pid}" in log
        assert "Call 2 begins" in log
    finally:
        worker.close()


def test_where_is():
    about = {"PARSL_WORKER_BLOCK_ID": "4", "PARSL_WORKER_RANK": "2", "PARSL_WORKER_LOGDIR": "/logs"}
    assert where_is("node", about, 77) == "host node, block 4, worker 2 (process 77); log: /logs/worker_2.log"


def test_a_worker_starts_light():
    code = """
        import json, sys
        import parsl.executors.high_throughput.worker
        print(json.dumps(sorted(sys.modules)))
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    loaded = json.loads(done.stdout)
    assert len(loaded) < 250
    heavy = {"zmq", "parsl.dataflow.dflow", "parsl.config", "asyncio", "multiprocessing", "psutil", "tblib", "dill"}
    assert not heavy & set(loaded)


# -- parts -------------------------------------------------------------------------------------------------------------


def test_functions_are_read_once_and_the_oldest_are_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "_KEPT_FUNCTIONS", 2)
    for number in range(3):
        (tmp_path / f"f{number}").write_bytes(facade.serialize(lambda number=number: number))
    functions = Functions(f"{tmp_path}/f")
    assert [functions[n]() for n in range(3)] == [0, 1, 2]
    for number in range(3):
        (tmp_path / f"f{number}").unlink()
    assert functions[2] is functions[2]
    with pytest.raises(FileNotFoundError):
        functions[0]


@pytest.mark.parametrize("sent", [b"", b"\x05\0\0", b"\x05\0\0\0", b"\x05\0\0\0abc"])
def test_a_message_that_breaks_off_is_the_end(sent):
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(sent)
        assert receive(theirs) == b""


def test_a_message_in_pieces():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\x05\0\0\0hello\x02\0\0\0yo")
        assert receive(theirs) == b"hello"
        assert receive(theirs) == b"yo"


def test_status_of_a_failure_of_ours():
    result = worker_module.raised(7, OSError(28, "no room"), "on its way")
    assert (result.id, result.status) == (7, RAISED)
    wrapper, where = facade.unpack(result.payload.body)
    assert (str(wrapper.get_exception()), where) == ("[Errno 28] no room", "on its way")
