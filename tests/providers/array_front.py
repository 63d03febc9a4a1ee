"""Job arrays for the stand-ins of LSF and PBS Pro, which have none: a program that runs in front of their commands.

An array is submitted as single jobs, each with its number where the batch system would put it. Ids of its jobs are
translated on their way in and out. The forms are those of the two systems' documentation.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

_ID = re.compile(r"(\d+)\[(\d+)\]")


def install(folder: Path, commands: str) -> None:
    """Write programs to `folder` that run in front of those in `commands`."""
    (folder / "arrays").mkdir(parents=True)
    for real in Path(commands).iterdir():
        front = folder / real.name
        front.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder / "arrays"} {real} "$@"\n')
        front.chmod(0o755)


def main(arrays: Path, real: str, args: list[str]) -> int:
    name = os.path.basename(real)
    option = {"bsub": "-J", "qsub": "-J"}.get(name)
    if option in args and (numbers := re.search(r"(\d+)-(\d+)\]?$", args[args.index(option) + 1])):
        return submit(arrays, real, args, range(int(numbers[1]), int(numbers[2]) + 1))
    known = {}
    for i, arg in enumerate(args):
        if (match := _ID.match(arg)) and (arrays / match[1]).exists():
            single = json.loads((arrays / match[1]).read_text())[match[2]]
            known[single] = match
            args[i] = _ID.sub(single, arg)
    answer = subprocess.run([real, *args], text=True, capture_output=True, check=False)
    sys.stdout.write(translated(answer.stdout, known, rows=name == "bjobs"))
    sys.stderr.write(translated(answer.stderr, known, rows=False))
    return answer.returncode


def translated(text: str, known: dict[str, re.Match[str]], *, rows: bool) -> str:
    """Put the ids of an array's jobs for those of single jobs; bjobs has them in two columns."""
    for single, match in known.items():
        if rows:
            text = re.sub(rf"^{single}\s+-", f"{match[1]} {match[2]}", text, flags=re.MULTILINE)
        else:
            text = re.sub(rf"\b{single}\b", match[0], text)
    return text


def submit(arrays: Path, real: str, args: list[str], numbers: range) -> int:
    lsf = real.endswith("bsub")
    at = args.index("-J")
    text = None if args[-1].startswith("/") and args[-2] != "-e" else sys.stdin.read()
    singles = {}
    for number in numbers:
        own = [arg.replace("%I", str(number)) for arg in args]
        own[at : at + 2] = ["-J", own[at + 1].partition("[")[0]] if lsf else ["-v", f"PBS_ARRAY_INDEX={number}"]
        environment = {**os.environ, "LSB_JOBINDEX": str(number)}
        answer = subprocess.run([real, *own], text=True, capture_output=True, input=text, env=environment, check=False)
        if answer.returncode:
            sys.stderr.write(answer.stderr)
            return answer.returncode
        singles[number] = re.search(r"\d+", answer.stdout)[0]
    first = singles[numbers[0]]
    (arrays / first).write_text(json.dumps(singles))
    sys.stdout.write(re.sub(rf"\b{singles[numbers[-1]]}\b", first if lsf else f"{first}[]", answer.stdout))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
