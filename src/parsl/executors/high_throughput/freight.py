"""Large buffers of a node that does not share the interchange's memory: they come and go as frames of messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from parsl.executors.high_throughput.worker import raised

if TYPE_CHECKING:
    from parsl.executors.high_throughput.messages import Payload, Result, Task
    from parsl.executors.high_throughput.segments import SegmentStore

logger = logging.getLogger(__name__)


class Freight:
    """Moves buffers between frames and the node's own segment store.

    Args:
        store: the node's store.
        hostname: the node's name, for the texts of errors.
    """

    def __init__(self, store: SegmentStore, hostname: str) -> None:
        self._store = store
        self._hostname = hostname
        # What open calls have in the store, by number.
        self._arguments: dict[int, Payload] = {}

    def land(self, tasks: Iterable[Task], frames: Sequence[bytes | memoryview]) -> tuple[list[Task], list[Result]]:
        """Put what came as frames into the store.

        Args:
            tasks: what came.
            frames: the frames of their message.

        Returns:
            The tasks as workers can read them, and the ends of those for which there is no room.
        """
        landed, refused = [], []
        for task in tasks:
            try:
                payload = self._store.land(task.payload, frames)
            except OSError as e:
                logger.warning("There is no room for the arguments of call %d: %s", task.id, e)
                refused.append(raised(task.id, e, f"its way to a worker of host {self._hostname}"))
                continue
            if payload.segment is not None:
                self._arguments[task.id] = payload
            landed.append(msgspec.structs.replace(task, payload=payload))
        return landed, refused

    def ship(self, results: Iterable[Result], frames: list[Any]) -> list[Result]:
        """Append what results have in the store to frames, and forget what their calls had there.

        Returns:
            The results as they can leave the node; for one that cannot be read, its error.
        """
        return [self._shipped(result, frames) for result in results]

    def _shipped(self, result: Result, frames: list[Any]) -> Result:
        arguments = self._arguments.pop(result.id, None)
        if arguments is not None:
            self._store.drop(arguments)
        try:
            return msgspec.structs.replace(result, payload=self._store.ship(result.payload, frames))
        except OSError as e:
            logger.warning("The result of call %d is lost: %s", result.id, e)
            return raised(result.id, e, f"its way back from host {self._hostname}")

    def delivered(self, results: Iterable[Result]) -> None:
        """Forget results that have reached the client."""
        for result in results:
            self._store.drop(result.payload)
