"""The files that blocks are made of: a script, what it prints, and the exit code that it leaves."""

from __future__ import annotations

import os
import re
import shlex
import string
import time
from collections.abc import Callable, Mapping

from parsl.launchers.frame import script_dir_line
from parsl.providers.errors import ScriptPathError

__all__ = ["block_body", "exit_code_in", "new_script_path", "render", "safe_job_name", "write_script"]

CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


def safe_job_name(job_name: str) -> str:
    """Make a name that every batch system, shell and file system takes: what is not of A-Z, a-z, 0-9, `.-_` is `_`.

    Args:
        job_name: Any text.

    Returns:
        The name; it begins with a letter and has at most 180 characters, so that there is room for what is appended.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", job_name)[:180]
    return name if name[:1].isalpha() else f"p{name}"


def new_script_path(script_dir: str | os.PathLike[str], job_name: str) -> str:
    """Choose a path for a block's script that no other block of any process of this host has.

    Args:
        script_dir: Folder for scripts.
        job_name: Name of the job.
    """
    name = f"{safe_job_name(job_name)}.{os.getpid()}.{time.time_ns()}.sh"
    return os.path.join(os.path.abspath(script_dir), name)


def write_script(path: str, text: str) -> None:
    """Write a script that its owner alone can read: a command or worker_init may hold secrets.

    Args:
        path: Where to; folders are made, and there must not be such a file yet.
        text: All of it.

    Raises:
        ScriptPathError: It could not be written.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        raise ScriptPathError(path, error) from error


def render(template: str, values: Mapping[str, object], quote: Callable[[str], str] = shlex.quote) -> str:
    """Fill a template for the options of a job.

    Each value is quoted if it has to be, so it stays one word whatever it is. A line with a value that is None or ""
    is left out.

    Args:
        template: Lines with `{name}` in them.
        values: The values by name.
        quote: Quotes a value.

    Returns:
        The lines.

    Raises:
        ValueError: A value has a line break or another control character in it.
    """
    lines = []
    for line in template.splitlines(keepends=True):
        names = [name for _, name, _, _ in string.Formatter().parse(line) if name]
        if any(values[name] is None or values[name] == "" for name in names):
            continue
        for name in names:
            if CONTROL_CHARACTERS.search(str(values[name])):
                raise ValueError(f"{name} has control characters in it: {values[name]!r}")
        lines.append(line.format_map({name: quote(str(values[name])) for name in names}))
    return "".join(lines)


def block_body(worker_init: str, launch: str, path: str) -> str:
    """Write the part of a block's script that runs, whichever batch system runs it.

    It leaves its exit code in the file `<path>.exitcode`: some batch systems soon forget how a job ended. It runs in a
    subshell, so that no `exit`, `exec` or `trap` of the user's gets between.

    Args:
        worker_init: The user's bash text, to come first.
        launch: Bash text that starts the command.
        path: Path of the script.
    """
    # SCRIPT_DIR is set last, as worker_init may use that name for its own ends; the empty lines are for texts that end
    # in a backslash or a comment.
    return f"""
(
{worker_init}

{script_dir_line(os.path.dirname(path))}{launch}

)
_parsl_exit=$?
{{ echo "$_parsl_exit" > {shlex.quote(path)}.exitcode; }} 2>/dev/null
exit "$_parsl_exit"
"""


def exit_code_in(path: str | None) -> int | None:
    """Read the exit code that a block's script left.

    Args:
        path: Path of the file with it, None for no such.

    Returns:
        The code, None if the script did not come to its end or what it wrote is not here yet.
    """
    if path is None:
        return None
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except OSError:
        return None
    # Without its line break it is not all there.
    return int(text) if re.fullmatch(r"\d{1,3}\n", text) else None
