"""Writes the table of docs/reference/support.md from a report of tests: python docs/support_table.py build/junit.xml.

Each test that proves something notes provider, launcher, system, version and how real that is, see
`record_proof` in tests/cloud_services.py. Only tests that passed count.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

PAGE = Path(__file__).parent / "reference" / "support.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
HEAD = "| provider | launcher | proven on | version | how real | tests | date |\n|---|---|---|---|---|---|---|\n"


def rows_of(report: str) -> list[str]:
    """Return the lines of the table.

    Args:
        report: Text of a report in JUnit's form, from pytest's `--junitxml`.
    """
    root = ET.fromstring(report)  # noqa: S314 - pytest wrote it here
    suite = root if root.tag == "testsuite" else root[0]
    date = suite.attrib["timestamp"][:10]
    passed: Counter[tuple[str, ...]] = Counter()
    for case in suite.iter("testcase"):
        if not any(case.find(tag) is not None for tag in ("failure", "error", "skipped")):
            passed.update(
                {tuple(json.loads(p.attrib["value"])) for p in case.iter("property") if p.get("name") == "proved"}
            )
    return [
        f"| {provider} | {launcher} | {system} | {version} | {how} | {count} | {date} |\n"
        for (provider, launcher, system, version, how), count in sorted(passed.items())
    ]


def with_table(page: str, rows: list[str]) -> str:
    """Return the page with these rows between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{HEAD}{''.join(rows)}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), rows_of(Path(sys.argv[1]).read_text("utf-8"))), "utf-8")
