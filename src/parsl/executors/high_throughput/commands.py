"""Questions of the client to its interchange."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError
from parsl.executors.high_throughput.messages import Answer, Query
from parsl.loop import Loop


class CommandClient:
    """Questions to the interchange, over the executor's connection to it.

    Args:
        loop: the loop that owns the connection.
        send: sends a message; called on the loop.
    """

    def __init__(self, loop: Loop, send: Callable[[Any], object]) -> None:
        self._loop = loop
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Callable[[Any], object], Any]] = {}
        self._paused = False
        self.ok = True

    def run(self, message: str, timeout_s: float | None = 30) -> Any:
        """Ask the interchange and wait for the answer; not from the loop's own thread.

        Args:
            message: what to ask for: `MANAGERS`, `WORKERS`, `CONNECTED_BLOCKS`, `OUTSTANDING_C`,
                `HOLD_WORKER;<manager>` or `TASK;<number of a call>`.
            timeout_s: seconds to wait at most; None waits for good.

        Raises:
            CommandClientTimeoutError: when there is no answer in time.
            CommandClientBadError: when the connection is closed.
            RuntimeError: on the loop's own thread, which would wait for itself.
        """
        if self._loop.on_loop():
            msg = f"the interchange cannot be asked for {message!r} by the thread that reads its answers"
            raise RuntimeError(msg)
        if not self.ok:
            raise CommandClientBadError
        answers: SimpleQueue[Any] = SimpleQueue()
        self._loop.post(self.ask, message, answers.put)
        try:
            answer = answers.get(timeout=timeout_s)
        except Empty:
            raise CommandClientTimeoutError from None
        if isinstance(answer, CommandClientBadError):
            raise answer
        return answer

    def ask(self, what: str, answer: Callable[[Any], object]) -> None:
        """Ask the interchange, on the loop; `answer` is called with what it says."""
        if not self.ok:
            answer(CommandClientBadError())
            return
        number = next(self._numbers)
        question = Query(number, what)
        self._waiting[number] = answer, question
        if not self._paused:
            self._send(question)

    def answered(self, message: Answer) -> None:
        """Take an answer."""
        waiting = self._waiting.pop(message.query, None)
        if waiting is not None:
            waiting[0](message.body)

    def pause(self) -> None:
        """Keep questions back: the interchange has died, and another will know nothing before `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Ask all that is open, of the next interchange."""
        self._paused = False
        for _, question in self._waiting.values():
            self._send(question)

    def close(self) -> None:
        """Answer all questions that are open with an error; to be called on the loop."""
        self.ok = False
        waiting, self._waiting = self._waiting, {}
        for answer, _ in waiting.values():
            answer(CommandClientBadError())
