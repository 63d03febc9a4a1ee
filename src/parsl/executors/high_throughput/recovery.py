"""The brain of the client when its interchange has died: what became of the calls that it had.

Nobody but the dead interchange knew which calls were queued there and which were on nodes. The managers live on and
come back to the next interchange, each with the list of what it has; a call that none of them has is to be sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable


class Recovery:
    """Which calls the managers still have, until all have come back or nobody waits for the rest.

    Args:
        calls: numbers of the calls that the dead interchange had been given and that have not ended.
        managers: identities of the managers that were connected to it.
    """

    def __init__(self, calls: Iterable[int], managers: Iterable[str]) -> None:
        self._in_doubt = set(calls)
        self._awaited = set(managers)

    @property
    def awaited(self) -> set[str]:
        """The managers that have not come back."""
        return self._awaited

    @property
    def complete(self) -> bool:
        """Whether nothing more is to be heard: all managers are back."""
        return not self._awaited

    def held(self, manager: str, calls: Iterable[int]) -> None:
        """A manager is back, with these calls."""
        self._awaited.discard(manager)
        self._in_doubt.difference_update(calls)

    def nowhere(self) -> list[int]:
        """Return the calls that nobody has said to have, in the order in which they were made."""
        return sorted(self._in_doubt)


class RestartLimit:
    """How often an interchange may be started anew.

    Args:
        most: so many restarts,
        seconds: within so many seconds.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._times: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Tell whether there may be another restart at the time `now`, which then counts."""
        while self._times and now - self._times[0] > self._seconds:
            self._times.popleft()
        if len(self._times) >= self._most:
            return False
        self._times.append(now)
        return True


# How a silent process is doing.
WELL, BUSY, FROZEN = "well", "busy", "frozen"


class Pulse:
    """Whether the other side still answers: asked each period, it is frozen when it was silent for `limit` seconds.

    A process that is busy is silent too. So one that has used the processor since the last look gets more time, up to
    `patience` seconds; one that is stopped, or waits for what does not come, gets none.

    Args:
        period: seconds between two looks.
        limit: seconds of silence that are too long.
        patience: seconds of silence that are too long even for one that is busy.
        now: the time.
    """

    def __init__(self, period: float, limit: float, patience: float, now: float) -> None:
        self._period = period
        self._limit = limit
        self._patience = patience
        self._heard = self._looked = now
        self._used: float | None = None

    def heard(self, now: float) -> None:
        """Note that the other side has said something."""
        self._heard = now

    def look(self, now: float, used: Callable[[], float]) -> str:
        """Judge the other side.

        Args:
            now: the time.
            used: tells for how many seconds it has used the processor; negative when it is stopped. Asked only when
                the other side is silent.

        Returns:
            WELL, BUSY (silent, but at work) or FROZEN.
        """
        late = now - self._looked > 2 * self._period
        self._looked = now
        if late:
            # This side was the one that slept: what the other has said meanwhile is still to be read.
            self._heard = max(self._heard, now - self._period)
            return WELL
        silent = now - self._heard
        if silent <= self._limit:
            self._used = None
            return WELL
        before, self._used = self._used, used()
        worked = self._used >= 0 and self._used != before
        return BUSY if worked and silent <= self._patience else FROZEN
