"""A world in which everything is there and works, but for what a test takes out of it."""

from __future__ import annotations

import platform
from typing import Any

from parsl.doctor.findings import Mark
from parsl.providers.commands import Answer
from parsl.version import VERSION

SAME = f"init 0\npython: versions {platform.python_version()} {VERSION}\n"


class FakeProbe:
    """Answers as told.

    Args:
        answers: By the first words of a command of a batch system: its answer. Others succeed and print nothing.
        others: By the name of a verb, what it returns instead, or the exception that it raises.
    """

    def __init__(self, answers: dict[str, Answer | str] | None = None, **others: Any) -> None:
        self.answers = answers or {}
        self.others = others
        self.asked: list[str] = []
        self.scripts: list[tuple[str, bool]] = []

    def _give(self, verb: str, usual: Any) -> Any:
        found = self.others.get(verb, usual)
        if isinstance(found, Exception):
            raise found
        return found

    def has_program(self, program):
        return self._give("has_program", True)

    def has_module(self, name):
        return self._give("has_module", True)

    def bash(self, script, seconds, *, login):
        self.scripts.append((script, login))
        return self._give("bash", Answer("bash", 0, SAME))

    def ask(self, provider, command):
        self.asked.append(command)
        for start, answer in self.answers.items():
            if command.startswith(start):
                return answer if isinstance(answer, Answer) else Answer(command, 0, answer)
        return Answer(command, 0)

    def resolve(self, host):
        return self._give("resolve", ["192.0.2.7"])

    def addresses(self):
        return self._give("addresses", {"127.0.0.1", "192.0.2.7"})

    def free_port(self, first, last):
        return self._give("free_port", first)

    def reach(self, addresses, port):
        return self._give("reach", addresses[0])

    def write(self, folder):
        self._give("write", None)

    def keys(self, folder):
        self._give("keys", None)

    def file_system(self, path):
        return self._give("file_system", "nfs4")


def marks(findings) -> list[tuple[str, str]]:
    """Say of each finding how it ended and which check it is."""
    return [(finding.mark.value, finding.check) for finding in findings]


def bad(findings) -> list[Any]:
    """Leave out those that are ok."""
    return [finding for finding in findings if finding.mark is not Mark.OK]
