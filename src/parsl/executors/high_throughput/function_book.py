"""The functions of calls, each packed once and sent once."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from parsl.serialize import facade


class FunctionBook:
    """Numbers for functions, and which bodies the interchange has not been sent.

    A function that nobody holds any more is forgotten here, and then by the interchange and by managers.
    """

    def __init__(self) -> None:
        self._numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._counter = itertools.count(1)
        # Kept for an interchange that comes after the present one.
        self._bodies: dict[int, bytes] = {}
        self._new: dict[int, bytes] = {}
        # Filled by finalizers, on any thread.
        self._dead: deque[int] = deque()

    def number_of(self, function: Callable[..., Any]) -> int:
        """Return the function's number, packing it if it is new; 0 for one that is to be packed at each call.

        Raises:
            SerializationError: when it cannot be packed.
        """
        if not facade.stays_the_same(function):
            return 0
        number = self._numbers.get(function)
        if number is None:
            body = facade.serialize(function)
            number = self._numbers[function] = next(self._counter)
            weakref.finalize(function, self._dead.append, number).atexit = False
            self._new[number] = self._bodies[number] = body
        return number

    @property
    def some_dead(self) -> bool:
        """Whether there are functions for `take_dead` to return."""
        return bool(self._dead)

    def take_new(self) -> dict[int, bytes]:
        """Return the bodies that the interchange has not been sent, and take them for sent."""
        new, self._new = self._new, {}
        return new

    def take_dead(self) -> list[int]:
        """Return the numbers of the functions that are gone, and forget them."""
        dead = [self._dead.popleft() for _ in range(len(self._dead))]
        for number in dead:
            self._bodies.pop(number, None)
        return dead

    def renew(self) -> None:
        """Take none for sent: there is another interchange."""
        self._new = dict(self._bodies)
