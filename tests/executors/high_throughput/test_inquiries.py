"""What the interchange asks a manager for somebody else."""

from __future__ import annotations

import pytest

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.inquiries import PATIENCE_SECONDS, Inquiries
from parsl.executors.high_throughput.messages import Answer, Locate, Located

THERE = {"manager": "m", "tasks": 1}


class HandTurnedTimer:
    def __init__(self, function):
        self.call = function

    def cancel(self):
        self.call = lambda: None


class HandTurnedLoop:
    def __init__(self):
        self.timers = []

    def call_later(self, seconds, function, *args):
        assert seconds == PATIENCE_SECONDS
        self.timers.append(HandTurnedTimer(lambda: function(*args)))
        return self.timers[-1]

    def turn(self):
        timers, self.timers = self.timers, []
        for timer in timers:
            timer.call()


@pytest.fixture
def loop():
    return HandTurnedLoop()


@pytest.fixture
def sent():
    return []


@pytest.fixture
def inquiries(loop, sent):
    return Inquiries(loop, lambda identity, message: sent.append((identity, message)), sent.append)


def test_what_is_with_no_manager_is_answered_at_once(inquiries, sent):
    inquiries.ask(7, 1, {"position": 3})
    assert sent == [Answer(7, {"position": 3})]


def test_the_managers_words_complete_the_answer(inquiries, loop, sent):
    inquiries.ask(7, 1, THERE)
    inquiries.ask(8, 2, THERE)
    (first, one), (_, other) = sent
    assert first == b"m"
    assert one == Locate(1, 1)
    inquiries.answered(Located(other.question, {"free": 2}))
    assert sent[2:] == [Answer(8, {**THERE, "pool": {"free": 2}})]
    loop.turn()
    assert sent[3:] == [Answer(7, {**THERE, "pool": {}})]
    # Too late, and from nowhere.
    inquiries.answered(Located(1, {"free": 2}))
    inquiries.answered(Located(99, {}))
    loop.turn()
    assert len(sent) == 4


def test_both_messages_travel():
    assert messages.to_manager().decode(messages.from_manager().encode(Locate(1, 2))) == Locate(1, 2)
    told = Located(1, {"got": ["a"], "free": 1})
    assert messages.from_manager().decode(messages.to_manager().encode(told)) == told
