"""The large arguments of open calls: how many of them are in the segment store at once, and which calls wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.messages import Payload, Task

if TYPE_CHECKING:
    from parsl.executors.high_throughput.segments import SegmentStore

# Bytes that are in the store at once; calls beyond wait with their arguments where the user has them.
LARGEST_IN_FLIGHT = 512 * 2**20


class LargeArguments:
    """Puts arguments into the segment store while there is room, and has calls wait, in order, while there is none.

    Args:
        store: where arguments are put.
        send: told of a task that is ready to be sent, and how many bytes it has in the store.
        fail: told of the number of a call that has waited in vain, and why its arguments cannot be stored.

    Attributes:
        held: what open calls have in the store, by number.
        waiting: what has not been stored yet, by number of the call.
        in_flight: how many bytes are in the store.
    """

    def __init__(
        self,
        store: SegmentStore,
        send: Callable[[Task, int], object],
        fail: Callable[[int, OSError], object],
    ) -> None:
        self.held: dict[int, Payload] = {}
        self.waiting: OrderedDict[int, tuple[int, bytes, Sequence[Any], Any]] = OrderedDict()
        self.in_flight = 0
        self._store = store
        self._send = send
        self._fail = fail

    def post(self, number: int, function: int, body: bytes, buffers: Sequence[Any], resources: Any) -> None:
        """Have a call sent, at once or when there is room for its arguments.

        Args:
            number: the call's number.
            function: its function's number.
            body: its packed arguments.
            buffers: what of them lies in buffers of its own.
            resources: its resource specification.

        Raises:
            OSError: when the arguments cannot be stored.
        """
        if self.in_flight > LARGEST_IN_FLIGHT:
            self.waiting[number] = function, body, buffers, resources
            return
        payload = self._store.payload(body, buffers)
        size = 0
        if payload.segment is not None:
            self.held[number] = payload
            size = sum(payload.segment.sizes)
            self.in_flight += size
        self._send(Task(number, function, payload, resources), size)

    def drop(self, number: int) -> None:
        """Remove what an ended call has in the store, and let calls go on that have waited for the room."""
        self.waiting.pop(number, None)
        payload = self.held.pop(number, None)
        if payload is None or payload.segment is None:
            return
        self._store.drop(payload)
        self.in_flight -= sum(payload.segment.sizes)
        while self.waiting and self.in_flight <= LARGEST_IN_FLIGHT:
            waited, call = self.waiting.popitem(last=False)
            try:
                self.post(waited, *call)
            except OSError as e:
                self._fail(waited, e)

    def take_out(self, numbers: Iterable[int]) -> set[int]:
        """Forget those of these calls that wait, and return their numbers."""
        return {number for number in numbers if self.waiting.pop(number, None) is not None}
