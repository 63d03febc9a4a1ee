"""Outputs of real commands, in tests/providers/outputs: a folder for each system and version, a file for each command.

Each file has the command line, its exit status, and what it wrote to standard output and to standard error.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "outputs"
_FORM = re.compile(r"\$ (.*?)\n\[exit status (\d+)\]\n\[stdout\]\n(.*?)\[stderr\]\n(.*)", re.DOTALL)


def recorded(name: str) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error of a recorded command."""
    match = _FORM.fullmatch((FOLDER / f"{name}.txt").read_text(encoding="utf-8"))
    assert match is not None, name
    return int(match[2]), match[3], match[4]


class Commands:
    """Stands in for `execute_wait`: answers by the first word of a command, and keeps what was asked.

    Attributes:
        answers: program to the answer, or to a list of answers of which the last one stays.
        asked: the command lines.
    """

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __call__(self, cmd, timeout=None):
        self.asked.append(cmd)
        answer = self.answers[cmd.split(maxsplit=1)[0]]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def script_of(provider, job_id):
    """Return the text of a job's script."""
    return Path(provider.resources[job_id]["script_path"]).read_text(encoding="utf-8")


def states(found):
    """Return the names of the states, by job id."""
    return {job_id: status.state.name for job_id, status in found.items()}
