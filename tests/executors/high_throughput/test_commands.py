from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from parsl.executors.high_throughput.commands import CommandClient
from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError
from parsl.executors.high_throughput.messages import Answer, Query

SECONDS = 20


@pytest.fixture
def sent():
    return SimpleQueue()


@pytest.fixture
def client(loop, sent):
    return CommandClient(loop, sent.put)


@pytest.fixture
def asker():
    """Another thread, for questions that wait."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_a_question_waits_for_its_answer(loop, client, sent, asker):
    future = asker.submit(client.run, "MANAGERS")
    query = sent.get(timeout=SECONDS)
    assert query == Query(query.query, "MANAGERS")
    loop.post(client.answered, Answer(query.query, ["m"]))
    assert future.result(SECONDS) == ["m"]


def test_answers_find_their_questions_in_any_order(loop, client, sent, asker):
    futures = {what: asker.submit(client.run, what) for what in ("A", "B", "C")}
    queries = [sent.get(timeout=SECONDS) for _ in futures]
    for query in reversed(queries):
        loop.post(client.answered, Answer(query.query, query.what.lower()))
    assert {what: f.result(SECONDS) for what, f in futures.items()} == {"A": "a", "B": "b", "C": "c"}


def test_no_answer_in_time(loop, client, sent):
    with pytest.raises(CommandClientTimeoutError):
        client.run("MANAGERS", timeout_s=0.05)
    query = sent.get(timeout=SECONDS)
    loop.call(client.answered, Answer(query.query, "late"))
    assert client.ok


def test_an_answer_that_nobody_waits_for(loop, client):
    loop.call(client.answered, Answer(77, "stray"))


def test_closing_ends_open_questions_and_later_ones(loop, client, sent, asker):
    future = asker.submit(client.run, "MANAGERS", None)
    sent.get(timeout=SECONDS)
    answers = []
    loop.call(client.ask, "WORKERS", answers.append)
    loop.call(client.close)
    with pytest.raises(CommandClientBadError):
        future.result(SECONDS)
    assert [type(a) for a in answers] == [CommandClientBadError]
    with pytest.raises(CommandClientBadError):
        client.run("MANAGERS")
    loop.call(client.ask, "MANAGERS", answers.append)
    assert [type(a) for a in answers] == [CommandClientBadError] * 2


def test_questions_on_the_loop_are_answered_by_a_call(loop, client, sent):
    answered = threading.Event()
    found = []

    def answer(value):
        found.append(value)
        answered.set()

    loop.call(client.ask, "WORKERS", answer)
    question = sent.get(timeout=SECONDS)
    assert question == Query(question.query, "WORKERS")
    loop.post(client.answered, Answer(question.query, True))
    assert answered.wait(SECONDS)
    assert found == [True]


def test_waiting_on_the_loop_is_refused_at_once(loop, client):
    with pytest.raises(RuntimeError, match="MANAGERS"):
        loop.call(client.run, "MANAGERS")
