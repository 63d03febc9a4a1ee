"""What a check says: one line for people, and beneath it why and what to do."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["Finding", "Mark", "fail", "ok", "tail", "warn"]


class Mark(Enum):
    """How a check ended."""

    OK = "ok"
    """Nothing to do."""

    WARN = "warn"
    """It may go wrong, or it cannot be told from here."""

    FAIL = "FAIL"
    """It will go wrong: no task would run."""


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        mark: How it ended.
        check: Short name of the check, the same in every run.
        text: What is so, in one line.
        reason: Why that is no good, with the words of the system that said so; lines, or nothing.
        remedy: What to do about it; lines, or nothing.
    """

    mark: Mark
    check: str
    text: str
    reason: str = ""
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Make a finding of something that is as it should be."""
    return Finding(Mark.OK, check, text)


def warn(check: str, text: str, reason: str = "", remedy: str = "") -> Finding:
    """Make a finding of something that may go wrong."""
    return Finding(Mark.WARN, check, text, reason.strip(), remedy.strip())


def fail(check: str, text: str, reason: str = "", remedy: str = "") -> Finding:
    """Make a finding of something that will go wrong."""
    return Finding(Mark.FAIL, check, text, reason.strip(), remedy.strip())


def tail(text: str | None, lines: int = 12) -> str:
    """Return the last lines of a text that are not blank, for a reason."""
    return "\n".join([line.rstrip() for line in (text or "").splitlines() if line.strip()][-lines:])
