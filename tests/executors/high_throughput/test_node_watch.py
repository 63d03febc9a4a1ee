from __future__ import annotations

import os
import threading

from parsl.executors.high_throughput.connected import Connected
from parsl.executors.high_throughput.messages import Managers, ManagerView
from parsl.executors.high_throughput.monitoring_view import MonitoringView
from parsl.executors.high_throughput.node_watch import MESSAGE, NODE, SAMPLES, NodeWatch
from parsl.loop import Loop
from parsl.monitoring import records
from parsl.monitoring.message_type import MessageType
from parsl.monitoring.records import Usage, decode, decode_usage, encode, encode_usage


class Node:
    """A manager whose one worker is this process, and changes its call when it is told to."""

    uid = "m"

    def __init__(self):
        self.sent = []
        self.told = threading.Semaphore(0)
        self.calls = [{os.getpid(): (7, (5.0, 0.0, 0.0))}]

    def calls_now(self):
        return self.calls.pop(0) if len(self.calls) > 1 else self.calls[0]

    def send_monitoring(self, body):
        self.sent.append(decode(body))
        self.told.release()


def watch(node, interval):
    loop = Loop("watch")
    made = NodeWatch(node, loop, interval, "3")
    loop.start()
    return made, loop


def test_a_node_is_told_of_at_once_and_when_its_first_worker_is_ready():
    node = Node()
    made, loop = watch(node, 0)
    made.worker_ready()
    made.worker_ready()
    loop.stop()
    loop.join()
    assert [(kind, facts["what"], facts["block"]) for kind, facts in node.sent] == [
        (NODE, "registered", "3"),
        (NODE, "ready", "3"),
    ]
    assert node.sent[0][1]["cpu_count"] == os.cpu_count()


def test_calls_are_sampled_at_intervals():
    node = Node()
    _, loop = watch(node, 0.01)
    for _ in range(3):
        assert node.told.acquire(timeout=20)
    loop.stop()
    loop.join()
    kind, samples = node.sent[1]
    assert kind == SAMPLES
    assert [number for number, _ in samples] == [7]
    usage = decode_usage(samples[0][1])
    assert (usage.pid, usage.started, usage.block) == (os.getpid(), 5.0, "3")


def test_a_worker_that_has_begun_another_call_meanwhile_is_left_out():
    node = Node()
    first, other = {os.getpid(): (7, (5.0, 0.0, 0.0))}, {os.getpid(): (8, (6.0, 0.0, 0.0))}
    node.calls = [first, other, {}, other, other]
    _, loop = watch(node, 0.01)
    for _ in range(2):
        assert node.told.acquire(timeout=20)
    loop.stop()
    loop.join()
    assert [number for number, _ in node.sent[1][1]] == [8]


# -- the executor's side -----------------------------------------------------------------------------------------------


class Messages:
    def __init__(self):
        self.records = []
        self.others = []

    def put_records(self, found):
        self.records += found

    def put(self, message):
        self.others.append(message)


class Client:
    def __init__(self):
        self.calls = {}
        self.connected = Connected()


class Call:
    id, try_id = 40, 2


def manager_view(**changes):
    facts = {"manager": "m", "block_id": "3", "worker_count": 2, "tasks": 0, "idle_duration": 0.0, "active": True}
    more = {
        "draining": False,
        "parsl_version": "",
        "python_version": "",
        "hostname": "h",
        "process_id": 1,
        "capacity": 2,
    }
    return ManagerView(**{**facts, **more, **changes})


def view():
    client, messages = Client(), Messages()
    made = MonitoringView("htex", client, messages)
    return made, client, messages


def node_message(what):
    return encode((NODE, {"uid": "m", "hostname": "h", "what": what, "at": 1.0}))


def told(messages):
    return [(facts["what"], facts["active"]) for kind, facts in messages.records if kind == records.NODE]


def test_a_node_has_four_rows_in_its_life():
    made, client, messages = view()
    client.connected.managers["m"] = manager_view()
    made.managers_changed(Managers([manager_view()], []))
    made.heard(node_message("registered"))
    made.heard(node_message("ready"))
    made.leaving()
    made.leaving()
    made.gone()
    made.gone()
    assert told(messages) == [("registered", 1), ("ready", 1), ("leaving", 0), ("gone", 0)]
    assert {facts["worker_count"] for _, facts in messages.records} == {2}
    assert {facts["executor"] for _, facts in messages.records} == {"htex"}


def test_a_drained_and_a_lost_node():
    made, _, messages = view()
    made.heard(node_message("registered"))
    made.managers_changed(Managers([manager_view(draining=True)], []))
    made.managers_changed(Managers([manager_view(draining=True)], []))
    made.managers_changed(Managers([], ["m", "never heard of"]))
    assert told(messages) == [("registered", 1), ("leaving", 0), ("gone", 0)]


def test_samples_get_the_numbers_of_task_and_try():
    made, client, messages = view()
    client.calls[7] = Call()
    usage = encode_usage(Usage(at=1.0))
    made.heard(encode((SAMPLES, [(7, usage), (8, usage)])))
    assert messages.records == [(records.SAMPLED, 40, 2, usage)]


def test_messages_of_tasks_are_passed_on():
    made, _, messages = view()
    made.heard(encode((MESSAGE, (MessageType.RESOURCE_INFO.value, {"task_id": 1}))))
    assert messages.others == [(MessageType.RESOURCE_INFO, {"task_id": 1})]
