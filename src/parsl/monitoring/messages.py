"""Messages as executors and radios give them to monitoring, turned into records."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from parsl.monitoring.message_type import MessageType
from parsl.monitoring.records import BLOCK, NODE, SAMPLED, Batch, Record, Usage, encode_usage

if TYPE_CHECKING:
    from parsl.loop import Loop

logger = logging.getLogger(__name__)


class MessageSink:
    """What executors hold as `monitoring_messages`, and receivers of radios as `resource_msgs`: a queue to put into.

    Args:
        send: takes records.
        loop: a loop on which receivers may wait for what comes.
    """

    def __init__(self, send: Callable[[Batch], object], loop: Loop | None) -> None:
        self._send = send
        self.loop = loop

    def put(self, message: Any) -> None:
        """Take in a message: `(MessageType, dict)`, such a pair with the address of its sender, or the dict of a block.

        One that cannot be understood is logged and dropped; from any thread, returns at once.
        """
        try:
            records = to_records(message)
        except Exception:
            logger.exception("A monitoring message cannot be understood and is dropped: %.200r", message)
            return
        if records:
            self._send(Batch(records))

    def put_records(self, records: list[Record]) -> None:
        """Take in records."""
        self._send(Batch(records))


def to_records(message: Any) -> list[Record]:
    """Turn a message into records.

    Args:
        message: see `MessageSink.put`.

    Raises:
        ValueError: when it is none.
    """
    if isinstance(message, Mapping):
        return [_block(message)]
    if isinstance(message, (tuple, list)) and len(message) == 2:
        kind, body = message
        if isinstance(kind, (tuple, list)):
            return to_records(kind)  # with the address of its sender
        if isinstance(kind, MessageType):
            if kind is MessageType.BLOCK_INFO and isinstance(body, (list, tuple)):
                return [_block(b) for b in body]
            if isinstance(body, Mapping):
                return _OF_KIND[kind](body)
    raise ValueError("a monitoring message is a pair of a MessageType and a dict")


def seconds(value: Any) -> float:
    """Return a time as seconds since the epoch; now for None."""
    if value is None:
        return time.time()
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return float(value)


def _block(body: Mapping[str, Any]) -> Record:
    return (
        BLOCK,
        {
            "at": seconds(body.get("timestamp")),
            "executor": body.get("executor_label"),
            "block": _text(body["block_id"]),
            "job": _text(body.get("job_id")),
            "status": body["status"],
        },
    )


def _node(body: Mapping[str, Any]) -> list[Record]:
    heartbeat = body.get("last_heartbeat")
    facts = {
        "at": seconds(body.get("timestamp")),
        "uid": _text(body["uid"]),
        "hostname": body.get("hostname"),
        "executor": body.get("executor_label"),
        "block": _text(body.get("block_id")),
        "cpu_count": body.get("cpu_count"),
        "total_memory": body.get("total_memory"),
        "active": int(bool(body.get("active"))),
        "worker_count": body.get("worker_count"),
        "python_version": body.get("python_v", body.get("python_version")),
        "heartbeat": None if heartbeat is None else seconds(heartbeat),
    }
    return [(NODE, facts)]


def _resource(body: Mapping[str, Any]) -> list[Record]:
    """Read what the wrapper of a task reports: `usage`, as `remote` packs it, or the columns of the table by name."""
    task, try_id = int(body["task_id"]), int(body.get("try_id", 0))
    usage = body.get("usage")
    if not isinstance(usage, bytes):
        names = {column: name for name, column in _COLUMNS.items()}
        facts = {names[column]: value for column, value in body.items() if column in names}
        usage = encode_usage(Usage(at=seconds(body.get("timestamp")), **facts))
    return [(SAMPLED, task, try_id, usage)]


_COLUMNS = {
    "hostname": "hostname",
    "block": "block_id",
    "pid": "psutil_process_pid",
    "user": "psutil_process_time_user",
    "system": "psutil_process_time_system",
    "resident": "psutil_process_memory_resident",
    "virtual": "psutil_process_memory_virtual",
    "memory_percent": "psutil_process_memory_percent",
    "children": "psutil_process_children_count",
    "read": "psutil_process_disk_read",
    "written": "psutil_process_disk_write",
    "voluntary": "psutil_process_num_ctx_switches_voluntary",
    "involuntary": "psutil_process_num_ctx_switches_involuntary",
    "cpu": "psutil_cpu_num",
    "status": "psutil_process_status",
}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _nothing(body: Mapping[str, Any]) -> list[Record]:
    """Drop what the kernel tells the journal itself."""
    del body
    return []


_OF_KIND: dict[MessageType, Callable[[Mapping[str, Any]], list[Record]]] = {
    MessageType.BLOCK_INFO: lambda body: [_block(body)],
    MessageType.NODE_INFO: _node,
    MessageType.RESOURCE_INFO: _resource,
    MessageType.TASK_INFO: _nothing,
    MessageType.WORKFLOW_INFO: _nothing,
}
