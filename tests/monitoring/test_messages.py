from __future__ import annotations

import datetime

import pytest

from parsl.monitoring import records
from parsl.monitoring.message_type import MessageType
from parsl.monitoring.messages import MessageSink, to_records
from parsl.monitoring.records import decode_usage

BLOCK = {"run_id": "r", "executor_label": "htex", "job_id": 7, "block_id": 0, "status": "RUNNING", "timestamp": 5.0}


@pytest.mark.parametrize(
    "message",
    [
        BLOCK,
        (MessageType.BLOCK_INFO, BLOCK),
        (MessageType.BLOCK_INFO, [BLOCK]),
        ((MessageType.BLOCK_INFO, BLOCK), "127.0.0.1"),
        (MessageType.BLOCK_INFO, {**BLOCK, "timestamp": datetime.datetime.fromtimestamp(5.0, datetime.timezone.utc)}),
    ],
)
def test_a_block_in_each_of_its_forms(message):
    facts = {"at": 5.0, "executor": "htex", "block": "0", "job": "7", "status": "RUNNING"}
    assert to_records(message) == [(records.BLOCK, facts)]


def test_a_node():
    ((kind, facts),) = to_records((MessageType.NODE_INFO, {"uid": "m", "active": True, "python_v": "3.12"}))
    assert (kind, facts["uid"], facts["active"], facts["python_version"]) == (records.NODE, "m", 1, "3.12")


def test_resources_by_the_names_of_their_columns():
    body = {"task_id": 3, "try_id": 1, "timestamp": 9.0, "psutil_process_time_user": 1.5, "other": 1}
    ((kind, task, try_id, usage),) = to_records((MessageType.RESOURCE_INFO, body))
    assert (kind, task, try_id) == (records.SAMPLED, 3, 1)
    assert (decode_usage(usage).user, decode_usage(usage).at) == (1.5, 9.0)


def test_what_the_kernel_tells_by_itself_is_not_taken_twice():
    assert to_records((MessageType.TASK_INFO, {"task_id": 1})) == []
    assert to_records((MessageType.WORKFLOW_INFO, {})) == []


@pytest.mark.parametrize("message", [None, 3, (), (1, 2), "text", (MessageType.NODE_INFO, {}), {}, b"bytes"])
def test_what_is_no_message_is_logged_and_dropped(message, caplog):
    sent = []
    MessageSink(sent.append, None).put(message)
    assert sent == []
    assert "cannot be understood" in caplog.text
