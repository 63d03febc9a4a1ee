from __future__ import annotations

import concurrent.futures
import functools
import gc
import itertools
import os
import sys
import threading
import weakref
from concurrent.futures import FIRST_COMPLETED, Future, as_completed

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.concurrent import ParslPoolExecutor
from parsl.config import Config
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel, DataFlowKernelLoader
from parsl.dataflow.errors import DependencyError
from parsl.dataflow.futures import AppFuture
from parsl.errors import ConfigurationError
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.providers import LocalProvider

AT_MOST_S = 30


def config(kind, tmp_path, **options):
    if kind == "threads":
        executor = ThreadPoolExecutor(max_threads=2)
    else:
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            max_workers_per_node=2,
            cores_per_worker=0.1,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    return Config(executors=[executor], strategy="none", run_dir=str(tmp_path), **options)


def meet(path, mode):
    """Open one end of a pipe, which takes as long as it takes another process or thread to open the other end."""
    with open(path, mode):
        pass


def warm(kernel, path):
    """Have a kernel start what it starts when it is first needed: that belongs to the module, not to its first test."""
    os.mkfifo(path)
    futures = [kernel.submit(meet, (str(path), mode)) for mode in ("r", "w")]
    called = threading.Event()
    futures[0].add_done_callback(lambda _: called.set())
    for future in futures:
        future.result(AT_MOST_S)
    assert called.wait(AT_MOST_S)
    return kernel


@pytest.fixture(scope="module", params=["threads", "htex"])
def kernel(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with DataFlowKernel(config(request.param, folder)) as kernel:
        yield warm(kernel, folder / "fifo")


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    """A kernel that calls in this process, where a test can watch."""
    folder = tmp_path_factory.mktemp("run")
    with DataFlowKernel(config("threads", folder)) as kernel:
        yield warm(kernel, folder / "fifo")


# Pools come after the gate and end before it, since calls may still be on their way through.
@pytest.fixture
def pool(kernel, gate):
    with ParslPoolExecutor(dfk=kernel) as pool:
        yield pool


@pytest.fixture
def thread_pool(threads, gate):
    with ParslPoolExecutor(dfk=threads) as pool:
        yield pool


class Gate:
    """Holds calls up, in whichever process, until the test lets them pass."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = str(path)
        self.fd = os.open(path, os.O_RDWR)

    def open(self, calls=1):
        os.write(self.fd, bytes(calls))


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path / "gate")
    yield gate
    os.close(gate.fd)


def pass_gate(path, result=None):
    with open(path, "rb", buffering=0) as gate:
        gate.read(1)
    return result


def add(a, b=0, *more):
    return a + b + sum(more)


def divide(a, b):
    return a / b


# -- submit ----------------------------------------------------------------------------------------------------------


def test_submit_returns_the_future_of_the_result(pool):
    future = pool.submit(add, 1, b=2)
    assert isinstance(future, AppFuture)
    assert isinstance(future, Future)
    assert future.result(AT_MOST_S) == 3


def test_an_exception_arrives_as_itself(pool):
    future = pool.submit(divide, 1, 0)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        future.result(AT_MOST_S)


def test_the_functions_of_concurrent_futures_work(pool, gate):
    late = pool.submit(pass_gate, gate.path, "late")
    early = pool.submit(add, 1, 1)
    done, not_done = concurrent.futures.wait([late, early], AT_MOST_S, return_when=FIRST_COMPLETED)
    assert (done, not_done) == ({early}, {late})
    ended = as_completed([late, early], AT_MOST_S)
    assert next(ended) is early
    gate.open()
    assert next(ended) is late


def test_as_completed_gives_each_future_once(pool):
    futures = [pool.submit(add, n, n) for n in range(50)]
    assert sorted(future.result() for future in as_completed(futures, AT_MOST_S)) == list(range(0, 100, 2))


def test_a_future_as_argument_is_waited_for(pool, gate):
    first = pool.submit(pass_gate, gate.path, 20)
    second = pool.submit(add, first, b=first)
    assert not second.done()
    gate.open()
    assert second.result(AT_MOST_S) == 40


def test_a_failed_argument_fails_the_call(pool):
    future = pool.submit(add, pool.submit(divide, 1, 0))
    assert isinstance(future.exception(AT_MOST_S), DependencyError)


def test_keywords_of_apps_have_their_meaning(pool):
    future = pool.submit(add, 1, parsl_resource_specification={"flavour": "vanilla"})
    assert isinstance(future.exception(AT_MOST_S), InvalidResourceSpecification)


def test_a_file_is_passed_as_one_that_can_be_opened(pool, tmp_path):
    (tmp_path / "in.txt").write_text("content")
    assert pool.submit(read, File(str(tmp_path / "in.txt"))).result(AT_MOST_S) == "content"


def read(file):
    with open(file) as stream:
        return stream.read()


@pytest.mark.parametrize(
    ("fn", "argument"),
    [(int, "7"), (max, [1, 2]), (str.upper, "a"), ("{}!".format, 1), (functools.partial(add, 5), 1), (lambda n: n, 3)],
)
def test_all_kinds_of_callables(pool, fn, argument):
    assert pool.submit(fn, argument).result(AT_MOST_S) == fn(argument)
    assert list(pool.map(fn, [argument] * 3)) == [fn(argument)] * 3
    assert list(pool.map(fn, [argument] * 3, chunksize=2)) == [fn(argument)] * 3


class Counter:
    """Is changed between calls."""

    __hash__ = None

    def __init__(self):
        self.value = 0

    def read(self):
        return self.value

    def __call__(self, factor):
        return factor * self.value


def test_a_call_sees_the_state_of_its_moment(pool):
    counter, seen, called, mapped = Counter(), [], [], []
    for counter.value in range(3):
        seen.append(pool.submit(counter.read).result(AT_MOST_S))
        called.append(pool.submit(counter, 10).result(AT_MOST_S))
        mapped += pool.map(counter, [100])
    assert (seen, called, mapped) == ([0, 1, 2], [0, 10, 20], [0, 100, 200])


class Once:
    """Tells how often it was pickled."""

    times = 0

    def __reduce__(self):
        type(self).times += 1
        return str, ()


@pytest.mark.parametrize("kernel", ["htex"], indirect=True)
def test_a_function_is_sent_once(pool, monkeypatch):
    monkeypatch.setattr(Once, "times", 0)

    def function(n):
        return n

    function.tracer = Once()
    assert [pool.submit(function, n).result(AT_MOST_S) for n in range(10)] == list(range(10))
    assert list(pool.map(function, range(10))) == list(range(10))
    assert Once.times == 1
    assert list(pool.map(function, range(10), chunksize=2)) == list(range(10))
    assert Once.times == 2


def test_workers_need_not_load_the_pool(tmp_path):
    # Defined here, since workers load the modules whose functions they call, and this module loads the pool.
    def loaded(_):
        return "parsl.concurrent" in sys.modules

    with ParslPoolExecutor(config("htex", tmp_path)) as pool:
        assert list(pool.map(loaded, range(4), chunksize=2)) == [False] * 4
        assert pool.submit(functools.partial(loaded, 0)).result(AT_MOST_S) is False


def test_the_pool_keeps_no_results(thread_pool):
    future = thread_pool.submit(Counter)
    result = weakref.ref(future.result(AT_MOST_S))
    assert result() is not None
    del future
    # What settles the future may be in its last lines.
    thread_pool.submit(add, 1).result(AT_MOST_S)
    gc.collect()
    assert result() is None


def test_calls_from_many_threads(thread_pool):
    results = []

    def work(start):
        results.extend(f.result(AT_MOST_S) for f in [thread_pool.submit(add, start + n) for n in range(100)])

    workers = [threading.Thread(target=work, args=(start,)) for start in range(0, 800, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(results) == list(range(800))


# -- apps ------------------------------------------------------------------------------------------------------------


def test_one_app_for_each_function(thread_pool):
    app = thread_pool.get_app(add)
    assert thread_pool.get_app(add) is app
    assert app(1, 2).result(AT_MOST_S) == 3
    assert thread_pool.submit(add, 1, 2).result(AT_MOST_S) == 3
    assert thread_pool.app_count == 1
    assert list(thread_pool.map(divide, [1, 4], [1, 2])) == [1, 2]
    assert thread_pool.app_count == 2
    assert thread_pool.get_app(add) is app


def test_new_functions_do_not_pile_up(thread_pool, monkeypatch):
    monkeypatch.setattr("parsl.concurrent._MOST_APPS", 10)
    kept = thread_pool.get_app(add)
    for n in range(50):
        assert thread_pool.submit(lambda n=n: n).result(AT_MOST_S) == n
        assert thread_pool.get_app(add) is kept
    assert thread_pool.app_count == 10


# -- map -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("buffersize", [None, 1, 4])
def test_map_gives_results_in_order(pool, chunksize, buffersize):
    results = pool.map(add, range(20), itertools.count(100), chunksize=chunksize, buffersize=buffersize)
    assert list(results) == [100 + 2 * n for n in range(20)]


@given(
    lengths=st.lists(st.integers(0, 12), max_size=3),
    chunksize=st.integers(1, 15),
    buffersize=st.none() | st.integers(1, 15),
)
def test_map_is_the_builtin_map_but_parallel(threads, lengths, chunksize, buffersize):
    rows = [[(row, n) for n in range(length)] for row, length in enumerate(lengths)]
    with ParslPoolExecutor(dfk=threads) as pool:
        # The builtin takes at least one iterable; with none there is nothing to call.
        wanted = list(map(tuple_of, *rows)) if rows else []
        assert list(pool.map(tuple_of, *rows, chunksize=chunksize, buffersize=buffersize)) == wanted


def tuple_of(*items):
    return items


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_takes_futures(pool, chunksize):
    futures = [pool.submit(add, n) for n in range(5)]
    assert list(pool.map(add, futures, range(5), chunksize=chunksize)) == [0, 2, 4, 6, 8]


def test_map_raises_where_a_call_failed(pool):
    results = pool.map(divide, [6, 6, 6, 6], [1, 2, 0, 3])
    assert [next(results), next(results)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_a_failed_call_fails_its_chunk(pool):
    results = pool.map(divide, [6, 6, 6, 6], [1, 2, 3, 0], chunksize=2)
    assert [next(results), next(results)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_times_out(pool, gate, chunksize):
    results = pool.map(pass_gate, [gate.path] * 4, timeout=0.01, chunksize=chunksize)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    gate.open(4)


def test_what_is_there_in_time_may_be_taken_later(pool, kernel):
    results = pool.map(add, range(3), timeout=0)
    kernel.wait_for_current_tasks()
    assert list(results) == [0, 1, 2]


def blocked_map(pool, gate, started, count=20, **options):
    """Map a function that notes its calls; the first returns, the next two stand at the gate with all the threads."""
    both = threading.Barrier(3)

    def held(n):
        started.append(n)
        if n in (1, 2):
            both.wait(AT_MOST_S)
            pass_gate(gate.path)
        return n

    results = pool.map(held, range(count), **options)
    both.wait(AT_MOST_S)
    return results


def test_the_time_is_up_cancels_what_has_not_started(thread_pool, threads, gate):
    started = []
    results = blocked_map(thread_pool, gate, started, timeout=0.01)
    assert next(results) == 0
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    # The cancellations were asked for before this call.
    threads.loop.call(int)
    gate.open(2)
    threads.wait_for_current_tasks()
    assert sorted(started) == [0, 1, 2]


@pytest.mark.parametrize("take", [True, False])
@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_letting_go_of_the_iterator_cancels_what_has_not_started(thread_pool, threads, gate, take, close, chunked):
    started = []
    thread_pool = ChunkingPool(dfk=threads) if chunked else thread_pool
    results = blocked_map(thread_pool, gate, started)
    if take:
        assert next(results) == 0
    if close:
        results.close()
    del results
    threads.loop.call(int)
    gate.open(2)
    threads.wait_for_current_tasks()
    assert sorted(started) == [0, 1, 2]


class ChunkingPool(ParslPoolExecutor):
    """Calls even functions in chunks of one."""

    def map(self, fn, *iterables):
        return super().map(functools.partial(fn), *iterables)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_buffersize_bounds_what_is_read_ahead(thread_pool, chunksize):
    taken = []

    def source():
        for n in itertools.count():
            taken.append(n)
            yield n

    results = thread_pool.map(add, source(), buffersize=3, chunksize=chunksize)
    assert len(taken) == 3 * chunksize
    for n in range(6):
        assert next(results) == n
        assert len(taken) <= (3 + n // chunksize) * chunksize
    results.close()


def test_buffersize_bounds_what_is_in_flight(thread_pool):
    lock, at_once, most = threading.Lock(), 0, 0

    def submitted():
        nonlocal at_once, most
        for n in range(50):
            with lock:
                at_once += 1
                most = max(most, at_once)
            yield n

    for _ in thread_pool.map(add, submitted(), buffersize=4):
        with lock:
            at_once -= 1
    assert most == 4


def test_without_buffersize_all_is_submitted_at_once(thread_pool):
    source = iter(range(30))
    results = thread_pool.map(add, source)
    assert list(source) == []
    assert list(results) == list(range(30))


def test_an_iterable_that_fails_fails_the_map_and_cancels_its_calls(thread_pool, threads, gate):
    both, started = threading.Barrier(3), []

    def held(n):
        started.append(n)
        both.wait(AT_MOST_S)
        pass_gate(gate.path)

    def source():
        yield 0
        yield 1
        both.wait(AT_MOST_S)
        yield 2
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        thread_pool.map(held, source())
    threads.loop.call(int)
    gate.open(2)
    threads.wait_for_current_tasks()
    assert sorted(started) == [0, 1]


@pytest.mark.parametrize("name", ["chunksize", "buffersize"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_must_be_positive(thread_pool, name, value):
    with pytest.raises(ValueError, match=f"'{name}' must be at least 1, but got {value}"):
        thread_pool.map(add, [1], **{name: value})


@pytest.mark.parametrize("name", ["chunksize", "buffersize"])
def test_sizes_must_be_numbers(thread_pool, name):
    with pytest.raises(TypeError):
        thread_pool.map(add, [1], **{name: "3"})


# -- life ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["threads", "htex"])
def test_a_pool_with_a_kernel_of_its_own(kind, tmp_path):
    with ParslPoolExecutor(config(kind, tmp_path)) as pool:
        futures = [pool.submit(add, n) for n in range(20)]
        assert DataFlowKernelLoader._dfk is None
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(20))
    assert futures[0].task_record.dfk.cleanup_called


def test_the_end_of_the_block_waits_also_when_it_raises(tmp_path):
    with pytest.raises(LookupError), ParslPoolExecutor(config("threads", tmp_path)) as pool:
        future = pool.submit(add, 1)
        raise LookupError
    assert future.result() == 1


def test_a_pool_without_a_block_starts_at_its_first_call(tmp_path):
    pool = ParslPoolExecutor(config("threads", tmp_path))
    assert list(tmp_path.iterdir()) == []
    future = pool.submit(add, 1)
    assert [folder.name for folder in tmp_path.iterdir()] == ["000"]
    pool.shutdown()
    assert future.result() == 1
    pool.shutdown()


def test_a_pool_that_is_never_used_starts_nothing(tmp_path):
    pool = ParslPoolExecutor(config("threads", tmp_path))
    pool.shutdown()
    pool.shutdown(wait=False)
    assert list(tmp_path.iterdir()) == []


def test_a_kernel_that_cannot_start_is_told_when_it_is_needed(tmp_path):
    (tmp_path / "file").write_text("")
    pool = ParslPoolExecutor(config("threads", tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="No run folder"):
        pool.submit(add, 1)
    pool.shutdown()


def test_two_pools_at_once(tmp_path):
    with ParslPoolExecutor(config("threads", tmp_path)) as one, ParslPoolExecutor(config("threads", tmp_path)) as other:
        assert other.submit(add, one.submit(add, 1), 1).result(AT_MOST_S) == 2


def test_a_given_kernel_runs_on_after_the_pool(threads, thread_pool, gate):
    stranger = thread_pool.submit(pass_gate, gate.path, "stranger")
    with ParslPoolExecutor(dfk=threads) as pool:
        future = pool.submit(add, 1)
    # The end of the pool waited for its own call, and for no other.
    assert future.done()
    assert not stranger.done()
    gate.open()
    assert stranger.result(AT_MOST_S) == "stranger"
    assert not threads.cleanup_called


def test_shutdown_in_the_background(tmp_path, gate):
    pool = ParslPoolExecutor(config("threads", tmp_path))
    future = pool.submit(pass_gate, gate.path, "through")
    pool.shutdown(wait=False)
    assert not future.done()
    with pytest.raises(RuntimeError):
        pool.submit(add, 1)
    gate.open()
    pool.shutdown(wait=True)
    assert future.result() == "through"
    assert future.task_record.dfk.cleanup_called


def test_a_program_ends_after_its_calls(tmp_path):
    import subprocess

    program = (
        "import sys\n"
        "from parsl.concurrent import ParslPoolExecutor\n"
        "from parsl.config import Config\n"
        "pool = ParslPoolExecutor(Config(run_dir=sys.argv[1]))\n"
        "def last_words():\n"
        "    sys.stdin.readline()\n"
        "    print('said', flush=True)\n"
        "pool.submit(last_words)\n"
        "pool.shutdown(wait=False)\n"
        "print('end of script', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "end of script\n"
        assert process.communicate("\n", timeout=AT_MOST_S) == ("said\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_can_cancel_what_has_not_started(tmp_path, gate, wait):
    pool = ParslPoolExecutor(config("threads", tmp_path))
    both = threading.Barrier(3)

    def held():
        both.wait(AT_MOST_S)
        return pass_gate(gate.path, "ran")

    running = [pool.submit(held) for _ in range(2)]
    both.wait(AT_MOST_S)
    queued = [pool.submit(add, n) for n in range(5)]
    waiting = pool.submit(add, running[0])
    opener = threading.Thread(target=lambda: concurrent.futures.wait([*queued, waiting]) and gate.open(2))
    opener.start()
    pool.shutdown(wait, cancel_futures=True)
    pool.shutdown()
    opener.join()
    assert [future.result() for future in running] == ["ran", "ran"]
    assert all(future.cancelled() for future in [*queued, waiting])


def test_nothing_runs_after_shutdown(thread_pool, threads):
    results = thread_pool.map(add, itertools.count(), buffersize=2)
    assert next(results) == 0
    thread_pool.shutdown()
    for attempt in (
        lambda: thread_pool.submit(add, 1),
        lambda: thread_pool.map(add, [1]),
        lambda: thread_pool.map(add, [1], chunksize=2),
        lambda: thread_pool.get_app(add),
        thread_pool.__enter__,
        lambda: list(results),
    ):
        with pytest.raises(RuntimeError, match="after its shutdown"):
            attempt()
    assert thread_pool.app_count == 0


def test_calls_go_to_the_named_executors(tmp_path):
    def name():
        return threading.current_thread().name

    executors = [ThreadPoolExecutor(label=label) for label in ("one", "two")]
    with DataFlowKernel(Config(executors=executors, strategy="none", run_dir=str(tmp_path))) as kernel:
        for label in ("one", "two"):
            with ParslPoolExecutor(dfk=kernel, executors=[label]) as pool:
                assert {pool.submit(name).result(AT_MOST_S).rpartition("_")[0] for _ in range(20)} == {label}
        with ParslPoolExecutor(dfk=kernel, executors=["three"]) as pool, pytest.raises(ValueError, match="'three'"):
            pool.submit(name)


def test_either_config_or_kernel(threads, tmp_path):
    with pytest.raises(ValueError, match="got neither"):
        ParslPoolExecutor()
    with pytest.raises(ValueError, match="got both"):
        ParslPoolExecutor(config("threads", tmp_path), dfk=threads)


def test_arguments_of_a_wrong_type(threads):
    with pytest.raises(TypeError, match="'config'"):
        ParslPoolExecutor({"executors": []})
    with pytest.raises(TypeError, match="'dfk'"):
        ParslPoolExecutor(dfk="mine")
    with pytest.raises(TypeError, match="'executors'"):
        ParslPoolExecutor(dfk=threads, executors=3)
