"""The submitting side with a real interchange: its start, its end, and answers that nobody expects."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import CancelledError, Future

import pytest

from parsl.executors.base import FutureCall
from parsl.executors.errors import ExecutorShutDownError
from parsl.executors.high_throughput import interchange_process, large_arguments, messages
from parsl.executors.high_throughput.client import InterchangeClient, InterchangeStartError
from parsl.executors.high_throughput.errors import (
    CommandClientBadError,
    CommandClientTimeoutError,
    VersionMismatch,
)
from parsl.executors.high_throughput.messages import DONE, Payload, Result, Results, Segment, Trouble
from parsl.loop import Loop
from parsl.serialize import facade
from tests.live import pilot


@pytest.fixture
def make(tmp_path):
    """Make executors that are used without a kernel, and end them."""
    executors = []

    def make(**options):
        executor = pilot.htex(**{"provider": pilot.provider(init_blocks=0), **options})
        executor.run_dir = str(tmp_path)
        executors.append(executor)
        return executor

    yield make
    for executor in executors:
        executor.shutdown()


@pytest.fixture
def executor(make):
    executor = make()
    executor.start()
    return executor


def receive(executor, message) -> None:
    """Have the client take a message as if it came from the interchange."""
    data = messages.Codec(type(message)).encode(message)
    executor.loop.call(executor._client._received, memoryview(data))


# -- the start ---------------------------------------------------------------------------------------------------------

PYTHON = sys.executable


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["/no/such/program"], "/no/such/program"),
        ([PYTHON, "-c", "raise SystemExit('out of order')"], "out of order"),
        ([PYTHON, "-c", "print('ERROR a reason of its own')"], "a reason of its own"),
        ([PYTHON, "-c", "print('hello')"], "exit code 0"),
        ([PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"], "exit code -9"),
        ([PYTHON, "-m", "no_such_module"], "no_such_module"),
    ],
)
def test_an_interchange_that_does_not_start_says_why(make, command, told):
    executor = make(interchange_launch_cmd=command)
    with pytest.raises(InterchangeStartError, match="executor htex") as error:
        executor.start()
    assert told in str(error.value)


@pytest.mark.parametrize("does", ["pass", "import sys; sys.stdout.close()", "print('REA', end='', flush=True)"])
def test_an_interchange_that_says_nothing_is_not_waited_for_for_ever(make, monkeypatch, does):
    executor = make(interchange_launch_cmd=[PYTHON, "-c", f"import time; {does}; time.sleep(600)"])
    began = time.monotonic()
    with monkeypatch.context() as patch, pytest.raises(InterchangeStartError):
        patch.setattr(interchange_process, "START_SECONDS", 0.5)
        patch.setattr(interchange_process, "STOP_SECONDS", 0.5)
        executor.start()
    assert time.monotonic() - began < 10
    # It can be tried again.
    executor.interchange_launch_cmd = None
    executor.start()
    assert executor.connected_managers() == []


def test_a_run_folder_that_cannot_be_written_is_told(make, tmp_path):
    (tmp_path / "file").write_text("")
    executor = make()
    executor.run_dir = str(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        executor.start()


def test_a_configuration_that_cannot_be_read_there_is_told(make):
    selector = pilot.htex().manager_selector
    selector.broken = Unreadable()
    try:
        with pytest.raises(InterchangeStartError, match="cannot be read"):
            make(manager_selector=selector).start()
    finally:
        del selector.broken


class Unreadable:
    def __reduce__(self):
        return fail, ()


def fail():
    raise RuntimeError("cannot be read")


# -- questions ---------------------------------------------------------------------------------------------------------


def test_questions_are_answered(executor):
    run = executor._client.commands.run
    assert run("MANAGERS") == []
    assert run("WORKERS") == 0
    assert run("CONNECTED_BLOCKS") == []
    assert run("HOLD_WORKER;nobody") is False
    assert run("NO_SUCH_QUESTION") is None
    executor.submit(int, {})
    assert run("OUTSTANDING_C") == 1


def test_a_question_to_a_frozen_interchange_times_out_and_a_later_one_is_answered(executor):
    interchange = pilot.interchange_of(executor)
    pilot.kill(interchange, signal.SIGSTOP)
    try:
        with pytest.raises(CommandClientTimeoutError):
            executor._client.commands.run("MANAGERS", timeout_s=0.2)
    finally:
        pilot.kill(interchange, signal.SIGCONT)
    assert executor._client.commands.run("MANAGERS") == []


def test_a_question_that_is_open_at_the_end_is_answered_too(executor):
    client, answers = executor._client, []
    pilot.kill(pilot.interchange_of(executor), signal.SIGSTOP)
    executor.loop.call(client.commands.ask, "MANAGERS", answers.append)
    pilot.kill(pilot.interchange_of(executor))
    pilot.wait_for(lambda: answers)
    assert answers == [[]], "by the next interchange"
    pilot.kill(pilot.interchange_of(executor), signal.SIGSTOP)
    executor.loop.call(client.commands.ask, "MANAGERS", answers.append)
    executor.shutdown()
    assert isinstance(answers[1], CommandClientBadError)


# -- answers that nobody expects ---------------------------------------------------------------------------------------


def done(number: int, value: object) -> Result:
    return Result(number, DONE, Payload(facade.pack_result(value)[0]))


def test_each_call_ends_once_and_a_result_for_none_is_dropped(executor):
    first, second = executor.submit(int, {}), executor.submit(int, {})
    receive(executor, Results([done(1, "one"), done(1, "again"), done(99, "nobody's")]))
    receive(executor, Results([done(2, "two"), done(0, "nobody's")]))
    assert (first.result(pilot.SOON), second.result(pilot.SOON)) == ("one", "two")
    assert executor.outstanding() == 0


@pytest.mark.parametrize(
    "payload",
    [
        Payload(b""),
        Payload(b"garbage"),
        Payload(b"no.such.module Serializer\nx"),
        Payload(b"", Segment("not-there", [5], [False])),
        Payload(b"", Segment("../../etc/passwd", [5], [False])),
        Payload(b"", Segment("token", [10**6], [True])),
    ],
)
@pytest.mark.parametrize("status", [DONE, messages.RAISED, messages.WORKER_LOST])
def test_a_result_that_cannot_be_read_is_that_calls_error(executor, payload, status):
    bad, good = executor.submit(int, {}), executor.submit(int, {})
    receive(executor, Results([Result(1, status, payload), done(2, "good")]))
    assert bad.exception(pilot.SOON) is not None
    assert good.result(pilot.SOON) == "good"


def test_a_specification_that_cannot_be_sent_is_that_calls_error(executor):
    packed = facade.pack_apply_message(len, (), {})
    others = []

    def in_one_message():
        others.append(executor.submit_payload({}, packed))
        with pytest.raises(OverflowError):
            executor.submit_payload({"resource_spec": {"priority": 10**30}}, packed)
        others.append(executor.submit_payload({}, packed))

    executor.loop.call(in_one_message)
    assert executor._client.commands.run("OUTSTANDING_C") == 2
    assert executor.outstanding() == 2


def test_what_is_no_message_is_passed_over(executor):
    future = executor.submit(int, {})
    for data in (b"", b"garbage", b"{}", b"\x92\x07"):
        with contextlib.suppress(Exception):
            executor.loop.call(executor._client._received, memoryview(data))
    receive(executor, Results([done(1, "one")]))
    assert future.result(pilot.SOON) == "one"


def test_a_future_that_its_holder_has_cancelled_takes_no_result(executor):
    future = executor.submit(int, {})
    assert future.cancel()
    receive(executor, Results([done(1, "late")]))
    assert future.cancelled()
    assert executor.outstanding() == 0


class Call:
    """A call of a kernel, and its end."""

    id = 7
    func, kwargs, resource_specification = len, {}, {}

    def __init__(self, *args):
        self.args = args
        self.executor_id = None
        self.ends = []

    def done(self, outcome):
        self.ends.append(outcome)

    @property
    def cancelled(self):
        return [isinstance(getattr(e, "exception", None), CancelledError) for e in self.ends]


def launch(executor, *args):
    call = Call(*args)
    executor.loop.call(executor.launch, call)
    return call


def test_a_queued_call_is_cancelled_once_however_often_it_is_asked(executor):
    calls, answers = [launch(executor, "x") for _ in range(3)], []

    def ask() -> None:
        for call in (calls[1], calls[1], calls[2]):
            executor.cancel(call, answers.append)

    executor.loop.call(ask)
    pilot.wait_for(lambda: len(answers) == 3)
    assert answers == [True] * 3
    assert [c.cancelled for c in calls] == [[], [True], [True]]
    assert executor.outstanding() == 1
    executor.loop.call(executor.cancel, calls[1], answers.append)
    assert answers[3:] == [False], "it has ended"


def test_a_queued_call_is_dropped_and_one_that_has_ended_is_not(executor):
    queued, ended = launch(executor, "x"), launch(executor, "x")
    receive(executor, Results([done(2, "two")]))
    for call in (queued, ended, queued):
        executor.loop.call(executor.drop, call)
    pilot.wait_for(lambda: queued.ends)
    assert executor._client.commands.run("OUTSTANDING_C") == 1
    assert (queued.cancelled, ended.cancelled) == ([True], [False])


@pytest.mark.parametrize(
    ("status", "cancelled"),
    [(messages.WORKER_LOST, True), (messages.MANAGER_LOST, True), (messages.TIMED_OUT, True), (DONE, False)],
)
def test_what_is_lost_while_it_is_cancelled_counts_as_cancelled(executor, monkeypatch, status, cancelled):
    call, answers = launch(executor, "x"), []
    # As if a manager had it: the interchange finds nothing to drop.
    monkeypatch.setattr(executor._client, "_tell_cancelled", lambda numbers, stop: None)
    executor.loop.call(executor.cancel, call, answers.append)
    payload = done(1, "value").payload if status == DONE else messages.lost(1, status, messages.Loss("1", "x")).payload
    receive(executor, Results([Result(1, status, payload)]))
    assert answers == [cancelled]
    assert call.cancelled == [cancelled]


def test_who_waits_for_a_cancel_is_answered_at_the_end(executor, monkeypatch):
    call, answers = launch(executor, "x"), []
    monkeypatch.setattr(executor._client, "_tell_cancelled", lambda numbers, stop: None)
    executor.loop.call(executor.cancel, call, answers.append)
    executor.loop.call(executor._client.fail_all, RuntimeError("over"))
    assert answers == [False]
    assert len(call.ends) == 1


def test_a_version_that_does_not_fit_fails_all_calls(executor):
    future = executor.submit(int, {})
    receive(executor, Trouble("version", "ours 1; theirs 2"))
    error = future.exception(pilot.SOON)
    assert isinstance(error.__cause__, VersionMismatch)
    assert (error.__cause__.interchange_version, error.__cause__.manager_version) == ("ours 1", "theirs 2")


# -- the end -----------------------------------------------------------------------------------------------------------


def test_at_the_end_open_calls_fail_and_nothing_stays(executor):
    futures = [executor.submit(len, {}, bytes(10**6)) for _ in range(5)]
    process, folder = pilot.interchange_of(executor), executor._client.store.folder
    executor.shutdown()
    assert all(isinstance(f.exception(pilot.SOON), ExecutorShutDownError) for f in futures)
    assert not pilot.still_there([process], 5)
    assert not os.path.exists(folder)
    executor.shutdown()


def test_an_interchange_that_does_not_end_is_killed(executor, monkeypatch):
    monkeypatch.setattr(interchange_process, "STOP_SECONDS", 0.3)
    process = pilot.interchange_of(executor)
    pilot.kill(process, signal.SIGSTOP)
    executor.shutdown()
    assert not pilot.still_there([process], 1)


def test_an_interchange_told_to_end_by_others_is_replaced(make):
    executor = make(provider=pilot.provider())
    executor.start()
    executor.scale_out_facade(1)
    assert executor.submit(int, {}).result(pilot.SOON) == 0
    old, workers = pilot.interchange_of(executor), pilot.workers_of(executor)
    pilot.kill(old, signal.SIGTERM)
    pilot.wait_for(lambda: executor._client.process.pid != old.pid)
    assert executor.submit(os.getppid, {}).result(pilot.SOON) == pilot.manager_of(executor).pid
    assert pilot.workers_of(executor) == workers


def test_a_client_by_itself(tmp_path):
    """As the executor uses it: `start` and `shutdown` from any thread, all else on the loop."""
    lost = []
    loop = Loop("test")
    loop.start()
    client = InterchangeClient(loop, "alone", lost.append, lost.append)
    call = FutureCall(int, (), {}, {}, Future())
    with pytest.raises(InterchangeStartError, match="alone"):
        client.start(["/no/such/program"], _config(client, tmp_path), pilot.htex().manager_selector, False)
    client.shutdown()
    loop.call(client.fail_all, KeyError("end"))
    loop.stop()
    loop.join()
    assert not lost
    assert not call.future.done()


def _config(client, folder):
    from parsl.executors.high_throughput.interchange_config import InterchangeConfig

    return InterchangeConfig(
        client_path=client.path,
        manager_path=f"{client.store.folder}/managers",
        address="127.0.0.1",
        port=None,
        port_range=(54000, 55000),
        ipv6=False,
        cert_dir=None,
        segments=client.store.folder,
        sys_path=[],
        heartbeat_threshold=60,
        logdir=str(folder),
    )


# -- where a call is ---------------------------------------------------------------------------------------------------


def test_a_call_is_located(executor):
    future = executor.submit(abs, {}, -1)
    answers = []
    executor.loop.call(executor._client.locate, future.parsl_executor_task_id, answers.append)
    (facts,) = pilot.wait_for(lambda: answers)
    assert (facts["position"], facts["length"], facts["managers"]) == (1, 1, 0)
    assert executor._client.commands.run("TASK;4711") == {}


def test_a_call_whose_arguments_are_held_back_is_here(executor, monkeypatch):
    monkeypatch.setattr(large_arguments, "LARGEST_IN_FLIGHT", 1)
    numbers = [executor.submit(len, {}, bytes(2**20)).parsl_executor_task_id for _ in range(2)]
    answers = []
    executor.loop.call(executor._client.locate, numbers[1], answers.append)
    assert len(answers) == 1
    assert answers[0]["held"] >= 2**20
