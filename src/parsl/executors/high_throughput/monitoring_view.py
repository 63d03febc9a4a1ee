"""What the executor tells monitoring of its nodes and calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.messages import Managers, ManagerView
from parsl.executors.high_throughput.node_watch import NODE, SAMPLES
from parsl.monitoring import records
from parsl.monitoring.message_type import MessageType

if TYPE_CHECKING:
    from parsl.executors.high_throughput.client import InterchangeClient


class MonitoringView:
    """Turns what managers and workers send into what monitoring takes; on the loop.

    A node has a row when its manager registers, when its first worker is ready, when it is to get no more tasks, and
    when it has gone.

    Args:
        label: the executor's label.
        client: the connection to the interchange.
        messages: the queue of monitoring messages.
    """

    def __init__(self, label: str, client: InterchangeClient, messages: Any) -> None:
        self._label = label
        self._client = client
        self._messages = messages
        self._facts: dict[str, dict[str, Any]] = {}
        self._leaving: set[str] = set()

    def heard(self, body: bytes) -> None:
        """A message of a manager or worker came."""
        kind, content = records.decode(body)
        if kind == NODE:
            facts = {**content, "executor": self._label, "active": 1}
            self._facts[facts["uid"]] = facts
            self._send([self._node(facts["uid"], active=1, what=facts["what"], at=facts["at"])])
        elif kind == SAMPLES:
            calls = self._client.calls
            known = ((calls.get(number), usage) for number, usage in content)
            self._send(
                [
                    (records.SAMPLED, call.id, getattr(call, "try_id", 0), usage)
                    for call, usage in known
                    if call is not None and call.id >= 0
                ]
            )
        else:
            number, facts = content
            self._messages.put((MessageType(number), facts))

    def managers_changed(self, message: Managers) -> None:
        """Managers came, changed or went."""
        for view in message.managers:
            if not view.active or view.draining:
                self._leave(view.manager, view)
        for manager in message.gone:
            self._go(manager)

    def leaving(self) -> None:
        """The executor ends: its nodes get no more tasks."""
        for manager, view in self._client.connected.managers.items():
            self._leave(manager, view)

    def gone(self) -> None:
        """The executor has ended, and all its nodes are gone."""
        for manager in list(self._facts):
            self._go(manager)

    def _leave(self, manager: str, view: ManagerView) -> None:
        if manager not in self._leaving and manager in self._facts:
            self._leaving.add(manager)
            self._send([self._node(manager, active=0, what="leaving", at=time.time(), workers=view.worker_count)])

    def _go(self, manager: str) -> None:
        if manager in self._facts:
            self._send([self._node(manager, active=0, what="gone", at=time.time())])
            del self._facts[manager]
            self._leaving.discard(manager)

    def _node(self, manager: str, *, active: int, what: str, at: float, workers: int | None = None) -> records.Record:
        facts = self._facts[manager]
        view = self._client.connected.managers.get(manager)
        if workers is None and view is not None:
            workers = view.worker_count
        if workers is not None:
            facts["worker_count"] = workers
        return (records.NODE, {**facts, "active": active, "what": what, "at": at, "heartbeat": at})

    def _send(self, found: list[records.Record]) -> None:
        if found and hasattr(self._messages, "put_records"):
            self._messages.put_records(found)
