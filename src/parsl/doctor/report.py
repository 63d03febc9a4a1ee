"""The doctor's report: lines as checks end, or one JSON document at the end."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from typing import IO, Any

from parsl.doctor.findings import Finding, Mark

__all__ = ["Report"]

_COLOURS = {Mark.OK: "32", Mark.WARN: "33", Mark.FAIL: "1;31"}
_BOLD, _DIM = "1", "2"


class Report:
    """Keeps what was found, and shows it at once.

    Args:
        out: Where lines go; None shows nothing until `as_json` is asked for.
        colour: Whether marks are coloured, with the escape sequences that terminals know.
        width: Characters of a line, for what stands beneath findings.
    """

    def __init__(self, out: IO[str] | None = None, *, colour: bool = False, width: int = 100) -> None:
        self._out = out
        self._colour = colour
        self._width = max(width, 40)
        self._section = ""
        self._entries: list[tuple[str, Finding]] = []
        self._events: list[tuple[str, str]] = []

    def section(self, title: str) -> None:
        """Begin a group of findings."""
        self._section = title
        self._write(f"\n{self._painted(title, _BOLD)}")

    def add(self, finding: Finding) -> Finding:
        """Take in a finding, and return it."""
        self._entries.append((self._section, finding))
        mark = self._painted(f"{finding.mark.value:<4}", _COLOURS[finding.mark])
        self._write(f"  {mark}  {finding.text}")
        for label, text in (("why", finding.reason), ("mend", finding.remedy)):
            if text:
                self._write(_beneath(label, text, self._width))
        return finding

    def add_all(self, findings: Iterable[Finding]) -> bool:
        """Take in findings as they come; return whether none of them is a FAIL."""
        marks = [self.add(finding).mark for finding in findings]
        return Mark.FAIL not in marks

    def event(self, text: str) -> None:
        """Show what happens meanwhile, which is no finding."""
        self._events.append((self._section, text))
        self._write(self._painted(f"   ..   {text}", _DIM))

    def count(self, mark: Mark) -> int:
        """Return how many findings have a mark."""
        return sum(finding.mark is mark for _, finding in self._entries)

    @property
    def exit_code(self) -> int:
        """0, or 1 when anything failed."""
        return 1 if self.count(Mark.FAIL) else 0

    def close(self) -> None:
        """Show the sum."""
        failed, warned, good = (self.count(mark) for mark in (Mark.FAIL, Mark.WARN, Mark.OK))
        worst = Mark.FAIL if failed else Mark.WARN if warned else Mark.OK
        text = f"{good} ok, {warned} warning{'' if warned == 1 else 's'}, {failed} failed"
        self._write(f"\n{self._painted(text, _COLOURS[worst])}")

    def as_json(self, config: str) -> str:
        """Return everything as a JSON object with `config`, `ok`, `findings` and `events`.

        Args:
            config: What was looked at.
        """
        findings: list[dict[str, Any]] = [
            {"section": section, **finding._asdict(), "mark": finding.mark.value} for section, finding in self._entries
        ]
        events = [{"section": section, "text": text} for section, text in self._events]
        document = {"config": config, "ok": self.exit_code == 0, "findings": findings, "events": events}
        return json.dumps(document, indent=2)

    def _painted(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def _write(self, line: str) -> None:
        if self._out is not None:
            print(line, file=self._out, flush=True)


def _beneath(label: str, text: str, width: int) -> str:
    """Lay out a reason or remedy beneath its finding; what was printed by programs keeps its lines."""
    lead, rest = f"        {label + ':':<6}", " " * 14
    lines: list[str] = []
    for line in text.splitlines():
        start = rest if lines else lead
        # No word is cut: a path or a command that is to be copied stays whole.
        wrapped = textwrap.wrap(
            line,
            width,
            initial_indent=start,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )
        lines += wrapped or [start.rstrip()]
    return "\n".join(lines)
