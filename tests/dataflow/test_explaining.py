"""`dfk.explain` and `dfk.status`, with kernels on threads: one case for each thing that a task may wait for."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from parsl.app.app import join_app, python_app
from parsl.app.futures import DataFuture
from parsl.data_provider.files import File
from parsl.data_provider.transfer import Transfer
from parsl.dataflow import explaining
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.explanations import Reason
from parsl.dataflow.memoization import BasicMemoizer
from parsl.dataflow.taskrecord import Value
from parsl.executors.base import ParslExecutor
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, loaded, threads_config


@pytest.fixture
def one(tmp_path):
    """A kernel with a single thread."""
    with loaded(tmp_path, executors=[ThreadPoolExecutor(label="threads", max_threads=1)]) as kernel:
        yield kernel


class Gate:
    """An app that has begun when `entered` is set, and ends when `leave` is."""

    def __init__(self, **options):
        self.entered, self.leave = threading.Event(), threading.Event()

        def held(*args):
            self.entered.set()
            assert self.leave.wait(SOON)

        self.app = python_app(held, **options)

    def __enter__(self):
        self.future = self.app()
        assert self.entered.wait(SOON)
        return self

    def __exit__(self, *_):
        self.leave.set()


def settled(kernel):
    """Let the loop take in all that was submitted."""
    kernel.loop.call(lambda: None)


@python_app
def plain(*args):
    return len(args)


def reasons(explanation):
    return [(step.task, step.cause.reason) for step in explanation.steps]


def test_a_chain_leads_to_what_runs(one):
    with Gate() as gate:
        first = plain(gate.future)
        second = plain(1, first, gate.future)
        settled(one)
        found = one.explain(second)
    assert reasons(found) == [(2, Reason.DEPENDENCY), (1, Reason.DEPENDENCY), (0, Reason.RUNNING)]
    assert str(found) == (
        "Task 2 (plain) waits for its 2 arguments, of which none is done; the first is task 1 (plain).\n"
        "  Task 1 (plain) waits for task 0 (held).\n"
        "    Task 0 (held) is running on a thread of executor threads."
    )
    assert one.explain(second).blocker.task in {0, 1, 2}


def test_a_queue_of_threads_has_places(one):
    with Gate() as gate:
        futures = [plain() for _ in range(3)]
        settled(one)
        found = one.explain(futures[1])
    assert found.reason is Reason.QUEUED
    assert found.blocker.cause.facts == {"position": 2, "length": 3}
    assert "2nd of 3 in the queue of executor threads" in str(found)
    assert gate.future.result() is None


def test_a_task_that_has_ended(one):
    future = plain()
    future.result()
    assert (one.explain(future).reason, str(one.explain(future))) == (
        Reason.ENDED, "Task 0 (plain) has ended: exec_done.",
    )  # fmt: skip


def test_a_future_of_somebody_else(one):
    foreign = Future()
    future = plain(foreign)
    settled(one)
    found = one.explain(future)
    assert found.reason is Reason.FUTURE
    assert "Future at" in str(found)
    foreign.set_result(1)
    future.result(SOON)


def test_a_join(one):
    @join_app
    def join(wanted):
        return wanted

    with Gate() as gate:
        future = join([gate.future, gate.future])
        # It has returned when a task behind it on the same thread has run.
        while future.task_status() != "joining":
            settled(one)
        found = one.explain(future)
    assert reasons(found) == [(1, Reason.JOINING), (0, Reason.RUNNING)]


def test_tasks_that_wait_for_one_another_are_a_circle(one):
    filled = threading.Event()

    @join_app
    def join(wanted):
        assert filled.wait(SOON)
        return wanted[0]

    box = []
    future = join(box)
    box.append(plain(future))
    filled.set()
    while future.task_status() != "joining":
        settled(one)
    found = one.explain(box[0])
    assert found.blocker.cause.reason is Reason.CIRCLE
    assert "neither will ever end" in str(found)


def test_an_equal_call_that_runs(one):
    with Gate(cache=True) as gate:
        twin = gate.app()
        settled(one)
        found = one.explain(twin)
    assert reasons(found) == [(1, Reason.TWIN), (0, Reason.RUNNING)]
    assert twin.result(SOON) is None


def test_a_memoizer_that_takes_its_time(tmp_path):
    class Slow(BasicMemoizer):
        answer = Future()

        def check_memo(self, task):
            return self.answer

        def recall_early(self, task):
            return None

    with loaded(tmp_path, memoizer=Slow()) as kernel:
        future = python_app(lambda: 1, cache=True)()
        settled(kernel)
        assert kernel.explain(future).reason is Reason.MEMOIZER
        Slow.answer.set_result(7)
        assert future.result(SOON) == 7


def test_a_result_on_its_way_to_the_disk(tmp_path):
    class Saving(BasicMemoizer):
        def save_result(self, task, result, saved):
            self.saved = saved
            begun.set()
            return True

    begun = threading.Event()
    memoizer = Saving()
    with loaded(tmp_path, memoizer=memoizer) as kernel:
        future = python_app(lambda: 1, cache=True)()
        assert begun.wait(SOON)
        settled(kernel)
        assert kernel.explain(future).reason is Reason.SAVING
        memoizer.saved()
        assert future.result(SOON) == 1


def test_a_file_on_its_way(one):
    def carry(transfer):
        return gate.leave.wait(SOON)

    with Gate() as gate:
        transfer = one.submit(carry, (Transfer("http", "http://host/f", "f", True, "task 9 (g)"),), app_kwargs={})
        future = one.submit(plain, (DataFuture(transfer, File("f"), transfer.tid),), app_kwargs={
            "_parsl_staging_inhibit": True,
        })  # fmt: skip
        settled(one)
        found = one.explain(future)
        assert reasons(found) == [(2, Reason.TRANSFER), (1, Reason.QUEUED)]
        assert "stage-in of http://host/f" in str(found)
        assert one.explain(DataFuture(transfer, File("f"))).task == 1


def test_a_file_that_no_task_brings(one):
    parent = Future()
    future = one.submit(plain, (DataFuture(parent, File("data.txt")),), app_kwargs={"_parsl_staging_inhibit": True})
    settled(one)
    found = one.explain(future)
    assert found.reason is Reason.TRANSFER
    assert "data.txt" in str(found)
    parent.set_result(None)
    future.result(SOON)


class Mute(ParslExecutor):
    """Has calls and does nothing with them.

    Attributes:
        word: what `why_waiting` does, in place of the default.
    """

    def __init__(self, word=None):
        super().__init__()
        self.label = "mute"
        self.calls = []
        self.word = word

    def start(self):
        pass

    def shutdown(self):
        pass

    def submit(self, func, resource_specification, *args, **kwargs):
        raise NotImplementedError

    def launch(self, call):
        self.calls.append(call)

    def why_waiting(self, call, answer):
        if self.word is None:
            super().why_waiting(call, answer)
        else:
            self.word(answer)


@pytest.fixture
def mute(tmp_path):
    executor = Mute()
    with loaded(tmp_path, executors=[executor]) as kernel:
        yield executor, kernel, plain()


def test_an_executor_that_knows_nothing(mute):
    _, kernel, future = mute
    settled(kernel)
    assert (kernel.explain(future).reason, "does not tell what it does" in str(kernel.explain(future))) == (
        Reason.UNKNOWN, True,
    )  # fmt: skip


def test_an_executor_that_does_not_answer(mute, monkeypatch):
    executor, kernel, future = mute
    monkeypatch.setattr(explaining, "ANSWER_SECONDS", 0.01)
    late = []
    executor.word = late.append
    settled(kernel)
    assert "did not say within 0.01 s" in str(kernel.explain(future))
    late[0](None)  # too late: nobody listens
    settled(kernel)


def test_an_executor_that_fails_to_answer(mute):
    executor, kernel, future = mute

    def fail(answer):
        raise KeyError("oops")

    executor.word = fail
    settled(kernel)
    assert "failed to say where it is: KeyError('oops')" in str(kernel.explain(future))


def test_on_the_kernels_own_thread_the_executor_is_not_waited_for(mute):
    _, kernel, future = mute
    settled(kernel)
    found = kernel.loop.call(kernel.explain, future)
    assert "has been with executor mute for" in str(found)


def test_a_kernel_that_has_ended(tmp_path):
    with loaded(tmp_path) as kernel:
        future = plain()
        future.result()
    assert kernel.explain(future).reason is Reason.ENDED


def test_what_cannot_be_explained(one, tmp_path):
    with pytest.raises(TypeError, match="takes the future of an app"):
        one.explain(Future())
    other = DataFlowKernel(threads_config(tmp_path / "other"))
    try:
        future = python_app(lambda: 1, data_flow_kernel=other)()
        with pytest.raises(ValueError, match="another kernel"):
            one.explain(future)
        waiting = plain(python_app(threading.Event().wait, data_flow_kernel=other)(0.2))
        settled(one)
        assert one.explain(waiting).reason in {Reason.FUTURE, Reason.READY, Reason.ENDED, Reason.RUNNING}
        waiting.result(SOON)
    finally:
        other.cleanup()


def test_a_long_chain_is_followed_without_recursion(one):
    with Gate() as gate:
        future = gate.future
        for _ in range(5000):
            future = plain(future)
        settled(one)
        found = one.explain(future)
    assert (found.blocker.task, found.skipped, len(found.steps)) == (0, 4992, 9)
    future.result()


def test_status(one):
    with Gate():
        futures = [plain() for _ in range(2)]
        plain(futures[0])
        settled(one)
        found = one.status()
    assert found.tasks == {"pending": 1, "launched": 3}
    assert (found.run_id, found.run_dir, found.max_outstanding, found.held_back) == (one.run_id, one.run_dir, None, 0)
    assert found.executors["threads"].kind == "ThreadPoolExecutor"
    assert "Tasks: 1 pending, 3 launched" in str(found)


def test_status_tells_who_is_held_back(tmp_path):
    with loaded(tmp_path, max_outstanding=1) as kernel:
        with Gate() as gate:
            thread = threading.Thread(target=plain)
            thread.start()
            while not (found := kernel.status()).held_back:
                settled(kernel)
        assert (found.max_outstanding, found.held_back) == (1, 1)
        thread.join()
        assert gate.future.result() is None
        assert kernel.status().held_back == 0


def test_the_end_of_a_call_that_nobody_runs(mute):
    executor, kernel, future = mute
    settled(kernel)
    executor.calls[0].done(Value(3))
    assert future.result(SOON) == 3
