"""When to ask for blocks again after some have failed. Time is an argument."""

from __future__ import annotations

__all__ = ["Backoff"]


class Backoff:
    """A pause that doubles with each failure in a row and ends with the first success.

    Blocks asked for together fail together: those that were asked for before the last failure say nothing new, and
    the pause stays what it is.

    Args:
        first: Seconds of the first pause.
        longest: Seconds of the longest.

    Attributes:
        failures: Failures in a row.
        until: The end of the pause, in seconds of any clock; minus infinity when there is none.
    """

    def __init__(self, first: float = 1.0, longest: float = 60.0) -> None:
        self._first = first
        self._longest = longest
        self._last = float("-inf")
        self.failures = 0
        self.until = float("-inf")

    def on_failure(self, now: float, asked: float) -> float:
        """Note that a block has failed.

        Args:
            now: The time.
            asked: When it was asked for.

        Returns:
            Seconds until blocks may be asked for again.
        """
        if asked >= self._last or not self.failures:
            self.failures += 1
            pause = min(self._first * 2.0 ** min(self.failures - 1, 30), self._longest)
            self.until, self._last = now + pause, now
        # The sum may have been rounded up.
        return min(max(0.0, self.until - now), self._longest)

    def on_success(self) -> None:
        """Note that a block has begun to work."""
        self.failures = 0
        self.until = float("-inf")

    def holds(self, now: float) -> bool:
        """Tell whether no block is to be asked for now."""
        return now < self.until
