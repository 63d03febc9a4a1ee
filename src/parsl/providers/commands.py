"""Commands of batch systems: what they answer, and rows of it."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

__all__ = ["Answer", "batched", "match_rows", "output_options"]

T = TypeVar("T")

_WORDS_SHOWN = 1000


class Answer(NamedTuple):
    """What a command of a batch system answered.

    Attributes:
        command: The command line.
        code: Its exit code; None if there is no answer.
        out: What it wrote to its standard output.
        err: What it wrote to its standard error, or why there is no answer.
    """

    command: str
    code: int | None
    out: str = ""
    err: str = ""

    @property
    def program(self) -> str:
        """The program that was to run."""
        return self.command.split(maxsplit=1)[0]

    @property
    def is_missing(self) -> bool:
        """Whether there is no such program."""
        return self.code == 127 and shutil.which(self.program) is None

    @property
    def words(self) -> str:
        """All of it for people, in one line."""
        if self.is_missing:
            return f"there is no command {self.program}: the batch system's commands have to be on PATH"
        said = " ".join((self.err.strip() or self.out.strip()).split())[-_WORDS_SHOWN:]
        ended = "" if self.code is None else f" (exit code {self.code})"
        return f"{self.program}: {said or 'no word'}{ended}"


def output_options(script: str, number: str = "") -> str:
    """Write the options `-o` and `-e` of many a submit command; in a script they would need other quotes.

    Args:
        script: Path of the script, beside which its output goes.
        number: What stands for a job's number in its array, with a dot before it; quoted for a shell.
    """
    path = f"{shlex.quote(script)}{number}"
    return f"-o {path}.stdout -e {path}.stderr"


def batched(iterable: Iterable[T], n: int, strict: bool = False) -> Iterator[tuple[T, ...]]:
    """Cut a row of things into tuples of `n`, the last maybe shorter.

    Args:
        iterable: The things.
        n: How many to a tuple, at least 1.
        strict: Refuse a last tuple that is shorter.

    Raises:
        ValueError: `n` is too small, or the last tuple is shorter and may not be.
    """
    if n < 1:
        raise ValueError(f"n has to be at least 1, but is {n}")
    batch: list[T] = []
    for thing in iterable:
        batch.append(thing)
        if len(batch) == n:
            yield tuple(batch)
            batch = []
    if batch:
        if strict:
            raise ValueError(f"the last batch has {len(batch)} instead of {n}")
        yield tuple(batch)


def match_rows(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Find the rows of a table among what else a command printed.

    Args:
        pattern: What a row is, all of it.
        text: What the command printed.

    Returns:
        The rows, none if the text is empty.

    Raises:
        ValueError: There is text, and none of it is a row.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    rows = [row for line in lines if (row := pattern.fullmatch(line.strip()))]
    if lines and not rows:
        raise ValueError(f"{lines[0]!r} is no line about a job")
    return rows
