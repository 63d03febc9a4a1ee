"""Questions about a call that the interchange passes on to the manager that has it.

Only explanations ask so. A manager that does not answer soon is not waited for: what the interchange knows by itself is
the answer then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.messages import Answer, Locate, Located

if TYPE_CHECKING:
    from parsl.loop import Loop, Timer

# A manager answers at once, unless its node is stuck.
PATIENCE_SECONDS = 2.0


class Inquiries:
    """The questions that are open.

    Args:
        loop: the interchange's loop.
        to_manager: sends a message to a manager.
        answer: sends an answer to the client.
    """

    def __init__(
        self, loop: Loop, to_manager: Callable[[bytes, Locate], object], answer: Callable[[Answer], object]
    ) -> None:
        self._loop = loop
        self._to_manager = to_manager
        self._answer = answer
        self._last = 0
        self._open: dict[int, tuple[int, dict[str, Any], Timer]] = {}

    def ask(self, query: int, task: int, facts: dict[str, Any]) -> None:
        """Complete what is known of a call by what its manager knows, if it is with one, and answer.

        Args:
            query: number of the client's question.
            task: number of the call.
            facts: what `whereabouts.find` says of it; the answer has the manager's words beside that, as `pool`.
        """
        if "manager" not in facts:
            self._answer(Answer(query, facts))
            return
        self._last += 1
        timer = self._loop.call_later(PATIENCE_SECONDS, self._close, self._last, {})
        self._open[self._last] = query, facts, timer
        self._to_manager(facts["manager"].encode(), Locate(self._last, task))

    def answered(self, message: Located) -> None:
        """A manager has answered; too late where the question is not open any more."""
        if message.question in self._open:
            self._open[message.question][2].cancel()
            self._close(message.question, message.facts)

    def _close(self, question: int, found: dict[str, Any]) -> None:
        query, facts, _ = self._open.pop(question)
        self._answer(Answer(query, {**facts, "pool": found}))
