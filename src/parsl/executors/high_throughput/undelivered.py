"""Results that a manager keeps until it is known that they have reached the client."""

from __future__ import annotations

from collections import deque

from parsl.executors.high_throughput.messages import Result


class Undelivered:
    """Results by the number of the message that they went out with, so that none is lost with an interchange."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, list[Result]]] = deque()
        self._last = 0

    def add(self, results: list[Result]) -> int:
        """Keep results; return the number of the message that they are to go out with."""
        self._last += 1
        self._batches.append((self._last, results))
        return self._last

    def received(self, number: int) -> list[Result]:
        """Forget what went out with messages up to `number`, and return it."""
        batches, gone = self._batches, []
        while batches and batches[0][0] <= number:
            gone += batches.popleft()[1]
        return gone

    @property
    def batches(self) -> list[tuple[int, list[Result]]]:
        """What is kept, by message, oldest first."""
        return list(self._batches)

    @property
    def calls(self) -> list[int]:
        """The numbers of the calls whose results are kept."""
        return [result.id for _, results in self._batches for result in results]
