"""Where chaos tests put their figures: what was done, what a user saw of it, and how soon.

They gather in `build/chaos.json`, from which the table of docs/reference/faults.md is filled:
`python -m tests.chaos.report` prints its rows.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def chaos_report(fault: str, seen_by_user: str, seconds: float, path: Path | None = None) -> None:
    """Take down how a fault was survived, and print it; a later row for the same fault replaces an earlier one.

    Args:
        fault: what was done to the run, in words of a user.
        seen_by_user: what comes of it: the error, or that nothing is seen.
        seconds: from the fault until that was so.
        path: the file; build/chaos.json by default.
    """
    path = path or ROOT / "build" / "chaos.json"
    path.parent.mkdir(exist_ok=True)
    print(f"{fault}: {seen_by_user}, after {seconds:.3f} s")
    # Several sessions may run tests at once.
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        rows = json.loads(file.read() or "{}")
        rows[fault] = {"seen": seen_by_user, "seconds": round(seconds, 3)}
        file.seek(0)
        file.truncate()
        json.dump(rows, file, indent=1, sort_keys=True)


def table(path: Path) -> str:
    """Return the rows as a table in Markdown."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    lines = [f"| {fault} | {row['seen']} | {row['seconds']:.2g} s |" for fault, row in rows.items()]
    return "\n".join(["| fault | what a user sees | after |", "|---|---|---|", *lines])


if __name__ == "__main__":
    print(table(ROOT / "build" / "chaos.json"))
