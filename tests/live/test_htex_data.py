"""What travels between the script and its workers: large data, functions, classes; and what is left of it."""

from __future__ import annotations

import functools
import gc
import importlib.util
import math
import os
import pickle
import re
import resource
import sys
from typing import Any

import pytest

from parsl.app.app import python_app
from parsl.executors.high_throughput import large_arguments
from parsl.serialize.errors import SerializationError
from tests.live import pilot

KB = 1024
MB = KB * KB


@pytest.fixture(scope="module")
def dfk(tmp_path_factory):
    with pilot.kernel(tmp_path_factory.mktemp("data")) as kernel:
        pilot.ready(kernel.executors["htex"])
        yield kernel


@pytest.fixture(scope="module")
def executor(dfk):
    return dfk.executors["htex"]


@pytest.fixture
def client(executor):
    return executor._client


def segments(client) -> list[str]:
    """Return the names of the segments that are there."""
    return [n for n in os.listdir(client.store.folder) if re.fullmatch(r"\d+-[0-9a-f]+-\d+", n)]


def functions(client) -> set[str]:
    """Return the names of the files of functions that the node has."""
    return {n for n in os.listdir(client.store.folder) if re.fullmatch(r"[0-9a-f]+-f\d+", n)}


# -- large data --------------------------------------------------------------------------------------------------------


class Block:
    """Gives its bytes to the pickler as arrays do: beside the pickle, without a copy."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("size", [0, 1, KB, 32 * KB - 1, 32 * KB, 32 * KB + 1, 64 * KB, MB, 10 * MB])
def test_bytes_of_any_size_go_and_come(dfk, client, size):
    @python_app(data_flow_kernel=dfk)
    def mirror(data, other=None):
        assert type(data) is bytes
        assert type(other) is bytearray
        other.reverse()
        return {"data": data[::-1], "other": other, "both": [data, bytes(other)]}

    data = os.urandom(size)
    expected = data[::-1]
    result = mirror(data, other=bytearray(data)).result(pilot.SOON)
    assert result == {"data": expected, "other": bytearray(expected), "both": [data, expected]}
    assert [type(v) for v in result.values()] == [bytes, bytearray, list]
    result["other"][:] = b"can be written"
    assert not segments(client)


def test_buffers_keep_their_kind(dfk, client):
    @python_app(data_flow_kernel=dfk)
    def mirror(fixed, free):
        assert bytes(fixed.data) == b"a" * 100_000
        # Written in place, as an array would be.
        memoryview(free.data)[:3] = b"new"
        return [fixed, free, Block(b"small"), Block(bytearray(200_000))]

    fixed, free, small, made = mirror(Block(b"a" * 100_000), Block(bytearray(100_000))).result(pilot.SOON)
    assert memoryview(fixed.data).readonly
    assert not memoryview(free.data).readonly
    assert bytes(free.data[:4]) == b"new\0"
    assert bytes(small.data) == b"small"
    assert not memoryview(made.data).readonly
    assert not segments(client)


def test_arrays_go_and_come(dfk, client):
    numpy = pytest.importorskip("numpy")

    @python_app(data_flow_kernel=dfk)
    def twice(array):
        array *= 2
        return array

    array = numpy.arange(1_000_000.0).reshape(1000, 1000)
    result = twice(array).result(pilot.SOON)
    assert numpy.array_equal(result, 2 * array)
    result[0, 0] = 1
    assert not segments(client)


def test_many_large_calls_are_on_their_way_a_few_at_a_time(dfk, client, monkeypatch):
    monkeypatch.setattr(large_arguments, "LARGEST_IN_FLIGHT", MB)
    most = []
    post = client._large.post

    def count(*args):
        post(*args)
        most.append(client._large.in_flight)

    monkeypatch.setattr(client._large, "post", count)
    length = python_app(len, data_flow_kernel=dfk)
    data = [bytes(400 * KB + i) for i in range(40)]
    futures = [length(d) for d in data]
    assert [f.result(pilot.SOON) for f in futures] == [len(d) for d in data]
    assert max(most) < 2 * MB
    assert client._large.in_flight == 0
    assert not client._large.waiting
    assert not segments(client)


def test_a_large_call_that_has_not_left_can_be_cancelled(dfk, client, monkeypatch, tmp_path):
    monkeypatch.setattr(large_arguments, "LARGEST_IN_FLIGHT", 0)
    gate = pilot.Gate(tmp_path / "gate")

    @python_app(data_flow_kernel=dfk)
    def wait(gate, data):
        with open(gate, "rb", buffering=0) as file:
            file.read(1)
        return len(data)

    held, waiting = wait(gate.path, bytes(MB)), wait(gate.path, bytes(MB))
    assert waiting.cancel()
    assert waiting.cancelled()
    gate.let(1)
    assert held.result(pilot.SOON) == MB
    gate.close()
    assert not client.calls


def test_arguments_without_room_are_that_tasks_error_alone(dfk, executor, client):
    length = python_app(len, data_flow_kernel=dfk)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * MB, limits[1]))
    try:
        bad, good = length(bytes(21 * MB)), length(b"abc")
        error = bad.exception(pilot.SOON)
        assert isinstance(error, OSError)
        assert "no room" in str(error)
        assert good.result(pilot.SOON) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert executor.outstanding() == 0
    assert not segments(client)


def test_a_result_without_room_is_that_tasks_error_alone(dfk, client, tmp_path):
    @python_app(data_flow_kernel=dfk)
    def give(size):
        import resource

        # Reached when the result is written, after this function has ended.
        resource.setrlimit(resource.RLIMIT_FSIZE, (MB, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return bytes(size)

    @python_app(data_flow_kernel=dfk)
    def lift(gate):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        return pilot.wait_at(gate)

    error = give(5 * MB).exception(pilot.SOON)
    assert isinstance(error, OSError)
    assert "no room" in str(error)
    gate = pilot.Gate(tmp_path / "gate")
    lifts = [lift(gate.path) for _ in range(2)]
    gate.let(2)
    assert all(f.result(pilot.SOON) for f in lifts)
    gate.close()
    assert not segments(client)


# -- functions ---------------------------------------------------------------------------------------------------------


def test_a_function_is_sent_once(dfk, client, monkeypatch):
    ballast = os.urandom(300 * KB)

    @python_app(data_flow_kernel=dfk)
    def heavy(x):
        return x + len(ballast)

    sent = []
    send = client._stream.send
    monkeypatch.setattr(client._stream, "send", lambda frames: sent.append(len(frames[0])) or send(frames))
    before = functions(client)
    futures = [heavy(i) for i in range(200)]
    assert [f.result(pilot.SOON) for f in futures] == [i + 300 * KB for i in range(200)]
    assert heavy(1).result(pilot.SOON) == 1 + 300 * KB
    assert 300 * KB < sum(sent) < 400 * KB
    assert len(functions(client) - before) == 1


def test_a_function_with_a_walltime_is_sent_once_as_well(dfk, client):
    @python_app(data_flow_kernel=dfk)
    def quick(x, walltime=60):
        return x

    before = functions(client)
    assert [quick(i).result(pilot.SOON) for i in range(20)] == list(range(20))
    assert len(functions(client) - before) == 1


def test_the_node_forgets_a_function_that_is_gone(dfk, executor, client):
    def make(n):
        return lambda: n

    gc.collect()
    executor.submit(int, {}).result(pilot.SOON)
    before = functions(client)
    for n in range(20):
        assert executor.submit(make(n), {}).result(pilot.SOON) == n
    gc.collect()
    # What is forgotten goes along with what is sent next.
    for _ in range(3):
        assert executor.submit(int, {}).result(pilot.SOON) == 0
    # The last one may be on its way still.
    assert len(functions(client) - before) <= 1


class Counter:
    def __init__(self):
        self.count = 0

    def value(self, plus=0):
        return self.count + plus

    def __call__(self):
        return self.count

    def __eq__(self, other):
        return isinstance(other, Counter)

    def __hash__(self):
        return 1


def test_what_can_be_called_and_changes_is_sent_as_it_is_at_each_call(executor):
    counter = Counter()
    futures = []
    for i in range(100):
        counter.count = i
        futures.append((executor.submit(counter.value, {}, plus=1), executor.submit(counter, {})))
    assert [(a.result(pilot.SOON), b.result(pilot.SOON)) for a, b in futures] == [(i + 1, i) for i in range(100)]


def test_everything_that_can_be_called_can_be_run(executor):
    base = 10

    def closure(x):
        return base + x

    def recursive(n):
        return 1 if n < 2 else n * recursive(n - 1)

    @functools.wraps(closure)
    def wrapped(x):
        return closure(x) * 2

    cases = [
        (lambda x: x + 1, (1,), 2),
        (closure, (1,), 11),
        (recursive, (10,), math.factorial(10)),
        (wrapped, (1,), 22),
        (functools.partial(closure, 5), (), 15),
        (functools.partial(divmod, 7), (2,), (3, 1)),
        (math.sqrt, (16,), 4.0),
        (len, ([1, 2],), 2),
        (int, ("7",), 7),
        ("abc".upper, (), "ABC"),
        ([3, 1, 2].index, (2,), 2),
        (Counter().value, (3,), 3),
        (pickle.dumps, (None,), pickle.dumps(None)),
        (os.path.join, ("a", "b"), os.path.join("a", "b")),
    ]
    futures = [executor.submit(function, {}, *args) for function, args, _ in cases]
    assert [f.result(pilot.SOON) for f in futures] == [expected for _, _, expected in cases]


def test_what_cannot_be_sent_is_told_at_once(executor):
    ghost = (i for i in ())
    with pytest.raises(SerializationError, match="generator"):
        executor.submit(lambda: ghost, {})
    assert executor.outstanding() == 0


@pytest.fixture
def by_path(tmp_path):
    """Load a module from a path that no worker looks at."""
    file = tmp_path / "hidden" / "loaded_by_path.py"
    file.parent.mkdir()
    file.write_text(
        "from dataclasses import dataclass\n"
        "FACTOR = 3\n"
        "@dataclass\nclass Pair:\n    a: int\n    b: int\n"
        "def helper(x):\n    return x * FACTOR\n"
        "def pair(x):\n    return Pair(x, helper(x))\n"
        "class Oops(Exception):\n    pass\n"
        "def fail():\n    raise Oops('here')\n"
    )
    spec = importlib.util.spec_from_file_location("loaded_by_path", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["loaded_by_path"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["loaded_by_path"]


def test_functions_of_a_module_loaded_by_path_go_by_value(executor, by_path):
    result = executor.submit(by_path.pair, {}, 2).result(pilot.SOON)
    assert result == by_path.Pair(2, 6)
    assert type(result) is by_path.Pair
    with pytest.raises(by_path.Oops, match="here"):
        executor.submit(by_path.fail, {}).result(pilot.SOON)
