"""How the page words things: states, times, durations, bytes, parts of a bar."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import NamedTuple

from parsl.dataflow.states import States

# What is shown where there is nothing to show.
NOTHING = "\N{EN DASH}"

# What is shown for each state, and the name of its colour; in the order in which a bar shows them.
STATES: dict[States, tuple[str, str]] = {
    States.exec_done: ("done", "done"),
    States.memo_done: ("remembered", "memo"),
    States.failed: ("failed", "failed"),
    States.dep_fail: ("not run", "depfail"),
    States.joining: ("joining", "joining"),
    States.running: ("running", "running"),
    States.running_ended: ("returning", "running"),
    States.launched: ("launched", "launched"),
    States.fail_retryable: ("to be tried again", "retry"),
    States.pending: ("pending", "pending"),
    States.unsched: ("new", "pending"),
}

# For each colour the first word that has it.
KINDS: dict[str, str] = {kind: word for word, kind in reversed(STATES.values())}

EXPLANATIONS: dict[States, str] = {
    States.exec_done: "ran and returned",
    States.memo_done: "the outcome of an earlier equal call was used",
    States.failed: "raised, and no retry is left",
    States.dep_fail: "not run, since something that it needs has failed",
    States.joining: "a join app that waits for the tasks it has started",
    States.running: "a worker has begun it",
    States.running_ended: "the worker is through with it",
    States.launched: "handed to its executor: it waits for a worker, or runs on one",
    States.fail_retryable: "a try has failed, and another one will be made",
    States.pending: "waits for what it depends on, or for its turn",
    States.unsched: "has just been called",
}


class Segment(NamedTuple):
    """A part of a bar: where it begins and how long it is, in thousandths, the name of its colour, and its title."""

    start: float
    length: float
    kind: str
    title: str


def state_word(state: States | None) -> str:
    """Return what is shown for a state."""
    return "unknown" if state is None else STATES[state][0]


def state_kind(state: States | None) -> str:
    """Return the name of a state's colour."""
    return "pending" if state is None else STATES[state][1]


def segments(counts: Mapping[States, int], total: int | None = None) -> list[Segment]:
    """Divide a bar among states.

    Args:
        counts: how many tasks are in each.
        total: how many the whole bar stands for; None for all of them.
    """
    whole = max(sum(counts.values()) if total is None else total, 1)
    found, start = [], 0.0
    for state, (word, kind) in STATES.items():
        number = counts.get(state, 0)
        if number:
            length = 1000.0 * number / whole
            found.append(Segment(round(start, 2), round(length, 2), kind, f"{number:,} {word}"))
            start += length
    return found


def duration(seconds: float | None) -> str:
    """Word a duration: `340 ms`, `12.3 s`, `4 min 05 s`, `2 h 07 min`, `3 d 04 h`."""
    if seconds is None:
        return NOTHING
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if 0.00005 <= seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def moment(at: float | None) -> str:
    """Word a time, local to where the page is served: `2026-11-25 18:43:59`."""
    return NOTHING if at is None else f"{datetime.datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"  # noqa: DTZ006 - see above


def exact(at: float) -> str:
    """Word a time to the millisecond, as plots take it."""
    return datetime.datetime.fromtimestamp(at).isoformat(" ", "milliseconds")  # noqa: DTZ006 - as the tables show it


def size(number: float | None) -> str:
    """Word a number of bytes: `512 B`, `3.4 kB`, `1.2 GB`."""
    if number is None:
        return NOTHING
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 99.5 else f"{value:.1f} {unit}"


def count(number: float | None) -> str:
    """Word a whole number: `1,234,567`."""
    return NOTHING if number is None else f"{number:,.0f}"
