"""Why a task has not ended, and how a kernel stands: in words that the kernel, queries, pages and terminals share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple


class Reason(str, Enum):
    """Why a task has not ended, as one word."""

    ENDED = "ended"
    """It has."""

    READY = "ready"
    """It waits for nothing: the kernel is about to look at it, or to launch it."""

    DEPENDENCY = "dependency"
    """Another task, among its arguments, has not ended."""

    FUTURE = "future"
    """A future among its arguments, which is no task of this kernel, is not done."""

    TRANSFER = "transfer"
    """A file is on its way: what stages it has not ended."""

    TWIN = "twin"
    """An equal call of an app with `cache=True` runs, and its result will do for both."""

    MEMOIZER = "memoizer"
    """The memoizer has not answered whether the call is remembered."""

    JOINING = "joining"
    """The join app has returned futures that are not done."""

    SAVING = "saving"
    """It has a result, which is to be in the checkpoint before the future is told."""

    CIRCLE = "circle"
    """It waits for a task that waits for it: neither will ever end."""

    SENDING = "sending"
    """Its arguments are held back here: enough large ones are on their way."""

    QUEUED = "queued"
    """It is in the queue of its executor, and there are workers."""

    NO_WORKERS = "no workers"
    """It is in the queue of its executor, and nobody is there to run it."""

    NO_ROOM = "no room"
    """It is in the queue of its executor: no worker that is there lasts as long as it declares."""

    RUNNING = "running"
    """It runs, or is with the node that will run it."""

    UNKNOWN = "unknown"
    """Its executor does not tell more than that it has it."""


class Cause(NamedTuple):
    """What one task waits for.

    Attributes:
        reason: in one word.
        text: the rest of a sentence that begins with the task: "waits for task 3".
        details: further sentences, for example on each block.
        facts: the numbers in the text, by name.
    """

    reason: Reason
    text: str
    details: Sequence[str] = ()
    facts: Mapping[str, Any] = {}


class Step(NamedTuple):
    """A task, and what it waits for.

    Attributes:
        task: its number; None for what is no task of the kernel.
        app: the name of its app.
        cause: what it waits for.
    """

    task: int | None
    app: str | None
    cause: Cause

    def __str__(self) -> str:
        who = "It" if self.task is None else f"Task {self.task} ({self.app})"
        return f"{who} {self.cause.text}."


# Of a long chain, so many steps are kept at its head.
_HEAD = 8


class Explanation(NamedTuple):
    """Why a task has not ended: from the task to what everything on the way waits for.

    Attributes:
        steps: the task itself first, the last one is what really keeps it. Of a long chain the middle is left out.
        skipped: how many steps are left out, behind the eighth.
    """

    steps: Sequence[Step]
    skipped: int = 0

    @property
    def task(self) -> int | None:
        """The number of the task."""
        return self.steps[0].task

    @property
    def blocker(self) -> Step:
        """What really keeps the task."""
        return self.steps[-1]

    @property
    def reason(self) -> Reason:
        """What the task itself waits for, in one word."""
        return self.steps[0].cause.reason

    def __str__(self) -> str:
        lines: list[str] = []
        for depth, step in enumerate(self.steps):
            if self.skipped and depth == _HEAD:
                lines.append(f"{'  ' * depth}... {self.skipped} more tasks that wait one for the other ...")
            lines.append(f"{'  ' * depth}{step}")
            lines += [f"{'  ' * (depth + 1)}{detail}" for detail in step.cause.details]
        return "\n".join(lines)


class Trail:
    """Collects the steps of an explanation; of a long chain its head and its end."""

    def __init__(self) -> None:
        self._head: list[Step] = []
        self._last: Step | None = None
        self._skipped = 0

    def add(self, step: Step) -> None:
        """Go one step further."""
        if len(self._head) < _HEAD:
            self._head.append(step)
            return
        self._skipped += self._last is not None
        self._last = step

    def explanation(self, last: Cause | None = None) -> Explanation:
        """Return what has been collected.

        Args:
            last: a better word on what the last step waits for, or None.
        """
        steps = [*self._head] if self._last is None else [*self._head, self._last]
        if last is not None:
            steps[-1] = steps[-1]._replace(cause=last)
        return Explanation(tuple(steps), self._skipped)


def waits_for(kind: Reason, what: str, still: int, of: int, first: str) -> Cause:
    """Say that a task waits for others.

    Args:
        kind: which reason.
        what: what they are to it, in the plural: "arguments".
        still: how many are not done.
        of: how many there are.
        first: the one that is followed up, in words.
    """
    if of == 1:
        text = f"waits for {first}"
    elif still == of:
        text = f"waits for its {of} {what}, of which none is done; the first is {first}"
    else:
        text = f"waits for {still} of its {of} {what}; the first that is not done is {first}"
    return Cause(kind, text, facts={"open": still, "of": of})


def ordinal(number: int) -> str:
    """Return 1 as '1st', 2 as '2nd' and so on."""
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: '1 task', '2 tasks'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def span(seconds: float) -> str:
    """Return a span of time in the unit that suits it."""
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class ExecutorStatus(NamedTuple):
    """How an executor stands.

    Attributes:
        kind: the name of its class.
        outstanding: tasks that it has; None where it does not tell.
        workers: workers that are connected; None where it does not tell.
        blocks: how many blocks are in each state, by its name; empty without blocks.
        trouble: why it can run no more tasks, or None.
    """

    kind: str
    outstanding: int | None
    workers: int | None
    blocks: Mapping[str, int]
    trouble: str | None


class Status(NamedTuple):
    """How a kernel stands.

    Attributes:
        run_id: the unique name of the run.
        run_dir: its folder.
        tasks: how many tasks are in each state, by its name; only states in which there are some.
        executors: how each executor stands, by label.
        max_outstanding: most tasks that may be open at once; None for no limit.
        held_back: how many threads wait in a call of an app for room below that limit.
    """

    run_id: str
    run_dir: str
    tasks: Mapping[str, int]
    executors: Mapping[str, ExecutorStatus]
    max_outstanding: int | None
    held_back: int

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.tasks.items()) or "none yet"
        lines = [f"Run {self.run_dir}", f"Tasks: {counts}"]
        if self.held_back:
            lines.append(f"{plural(self.held_back, 'thread')} held back: {self.max_outstanding} tasks are open")
        for label, executor in self.executors.items():
            words = []
            if executor.outstanding is not None:
                words.append(plural(executor.outstanding, "task"))
            if executor.workers is not None:
                words.append(plural(executor.workers, "worker"))
            if executor.blocks:
                words.append("blocks: " + ", ".join(f"{count} {state}" for state, count in executor.blocks.items()))
            if executor.trouble is not None:
                words.append(f"can run no more tasks: {executor.trouble}")
            lines.append(f"Executor {label} ({executor.kind}): {'; '.join(words) or 'does not tell more'}")
        return "\n".join(lines)
