"""A rehearsal of a block's beginning on this host: worker_init, the launcher's programs, Python with the package."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from parsl.doctor.case import Case, Place
from parsl.doctor.findings import Finding, fail, ok, tail, warn
from parsl.doctor.probe import Probe
from parsl.providers.commands import Answer
from parsl.version import VERSION

__all__ = ["check_block_start", "check_launcher"]

_SECONDS = 60.0

_PROGRAMS: dict[str, tuple[str, ...]] = {
    "SrunLauncher": ("srun",),
    "SrunMPILauncher": ("srun",),
    "AprunLauncher": ("aprun",),
    "JsrunLauncher": ("jsrun",),
    "MpiExecLauncher": ("mpiexec",),
    "MpiRunLauncher": ("mpirun",),
    "GnuParallelLauncher": ("parallel", "ssh"),
}
"""What each launcher calls."""

_FIRST_NODE_ONLY = frozenset({"SimpleLauncher", "SingleNodeLauncher", "WrappedLauncher"})

# What is said of Python and the package comes back on a line of its own, whatever worker_init prints.
_ASK_PYTHON = (
    "import platform, dill, msgspec, psutil, zmq, parsl.version; "
    "print('versions', platform.python_version(), parsl.version.VERSION)"
)


class Rehearsal(NamedTuple):
    """What came of running a block's beginning.

    Attributes:
        init_code: Exit code of worker_init's last command; None if bash did not get to its end.
        missing: Programs that are not there after it.
        versions: Of Python and the package, as the block's command would find them; () if it finds none.
        complaint: What Python said instead.
        said: What worker_init printed.
    """

    init_code: int | None
    missing: tuple[str, ...]
    versions: tuple[str, ...]
    complaint: str
    said: str


def check_launcher(case: Case) -> Iterator[Finding]:
    """See whether the launcher fits the block."""
    launcher = getattr(case.provider, "launcher", None)
    nodes = getattr(case.provider, "nodes_per_block", 1)
    kind = type(launcher).__name__
    mpi = case.option("enable_mpi_mode", False)
    if nodes > 1 and kind in _FIRST_NODE_ONLY and not mpi:
        yield warn(
            "launcher",
            f"{kind} uses one of the {nodes} nodes of a block",
            "the others are allocated, and nothing is started on them",
            "take a launcher that starts a manager on each node, such as SrunLauncher or MpiExecLauncher",
        )


def check_block_start(case: Case, probe: Probe) -> Iterator[Finding]:
    """Run what a block runs first, and judge what came of it.

    On a cluster this is a login shell of this host, which can differ from a node in what is installed; so what would be
    an error here is a warning there, unless it cannot depend on the node.
    """
    if case.place is Place.CLOUD:
        yield from _cloud_command(case)
        return
    programs, python = needed_programs(case), block_python(case)
    if case.provider is None or not (programs or python or case.provider.worker_init.strip()):
        return
    script = rehearsal_script(case.provider.worker_init, programs, python)
    answer = probe.bash(script, _SECONDS, login=case.place is Place.CLUSTER)
    rehearsal = read_rehearsal(answer)
    judge = fail if case.place is Place.HERE else warn
    where = "here" if case.place is Place.HERE else "in a login shell here"
    yield from _judge_init(case, answer, rehearsal, judge, where)
    if rehearsal.init_code is not None:
        yield from _judge_programs(case, programs, rehearsal, judge, where)
        if python:
            yield _judge_python(rehearsal, python, judge, where)


def needed_programs(case: Case) -> tuple[str, ...]:
    """Name the programs that the launcher and the command of the block call."""
    launcher: Any = getattr(case.provider, "launcher", None)
    found = next((_PROGRAMS[c.__name__] for c in type(launcher).__mro__ if c.__name__ in _PROGRAMS), ())
    if type(launcher).__name__ == "WrappedLauncher":
        found = tuple(_words(launcher.prepend)[:1])
    if case.option("enable_mpi_mode", False):
        found = (*found, case.option("mpi_launcher"))
    command = _command_word(case)
    return (*found, command) if command and not _is_python(command) else found


def block_python(case: Case) -> str | None:
    """Name the Python that the block's command starts; None if it starts something else."""
    command = _command_word(case)
    return command if command and _is_python(command) else None


def _command_word(case: Case) -> str | None:
    """Return the program of the command that starts a manager."""
    template = case.option("launch_cmd")
    if not template:
        return None
    words = _words(template.replace("{python}", shlex.quote(sys.executable)))
    return next((word for word in words if "=" not in word), None)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote without its partner is for bash to complain of
        return text.split()


def _is_python(program: str) -> bool:
    return os.path.basename(program).startswith(("python", "pypy"))


def rehearsal_script(worker_init: str, programs: tuple[str, ...], python: str | None) -> str:
    """Write the bash text: what worker_init prints goes to standard error, what is found out to standard output."""
    lines = ["exec 9>&1 1>&2", worker_init, "", "printf 'init %s\\n' $? >&9"]
    for program in programs:
        word = shlex.quote(program)
        lines.append(f"command -v {word} > /dev/null || printf 'missing %s\\n' {word} >&9")
    if python:
        lines.append(f"{shlex.quote(python)} -c {shlex.quote(_ASK_PYTHON)} 2>&1 | sed 's/^/python: /' >&9")
    return "\n".join([*lines, "exit 0"])


def read_rehearsal(answer: Answer) -> Rehearsal:
    """Read what the script found out."""
    code: int | None = None
    missing: list[str] = []
    versions: tuple[str, ...] = ()
    complaints: list[str] = []
    for line in answer.out.splitlines():
        word, _, rest = line.partition(" ")
        if word == "init" and rest.isdecimal():
            code = int(rest)
        elif word == "missing":
            missing.append(rest)
        elif word == "python:" and rest.startswith("versions "):
            versions = tuple(rest.split()[1:])
        elif word == "python:":
            complaints.append(rest)
    return Rehearsal(code, tuple(missing), versions, "\n".join(complaints), answer.err)


def _judge_init(case: Case, answer: Answer, found: Rehearsal, judge: Any, where: str) -> Iterator[Finding]:
    said = tail(found.said)
    if found.init_code is None:
        ended = "" if answer.code is None else f"\nexit code {answer.code}"
        remedy = "run it by hand with `bash -l`; it must not call exit, and must not wait for anybody"
        yield fail("worker_init", f"worker_init does not come to its end {where}", f"{said}{ended}", remedy)
    elif found.init_code != 0 or "command not found" in said or "No such file" in said:
        ended = f"\nexit code {found.init_code}" if found.init_code else ""
        remedy = "correct worker_init"
        if case.place is Place.CLUSTER:
            remedy += "; if that only works on a node, the task that is run there will tell"
        yield judge("worker_init", f"worker_init complains {where}", f"{said}{ended}", remedy)
    elif case.provider.worker_init.strip():
        yield ok("worker_init", f"worker_init runs without complaint {where}")


def _judge_programs(
    case: Case, programs: tuple[str, ...], found: Rehearsal, judge: Callable[..., Finding], where: str
) -> Iterator[Finding]:
    launcher = type(getattr(case.provider, "launcher", None)).__name__
    for program in found.missing:
        yield judge(
            "launcher",
            f"{program} is not on the PATH {where}",
            f"{launcher}, mpi_launcher or launch_cmd calls it in each block",
            "have worker_init put it there (`module load ...`), or take another launcher",
        )
    there = [program for program in programs if program not in found.missing]
    if there:
        yield ok("launcher", f"{', '.join(there)} found {where}, for {launcher}")


def _judge_python(found: Rehearsal, python: str, judge: Callable[..., Finding], where: str) -> Finding:
    if not found.versions:
        return judge(
            "python",
            f"{python} cannot run the package in a block that begins {where}",
            tail(found.complaint, 4),
            "have worker_init activate an environment with this package, or leave its PYTHONPATH and modules alone",
        )
    here = (platform.python_version(), VERSION)
    if found.versions != here:
        return judge(
            "python",
            f"a block that begins {where} has Python {found.versions[0]} with parsl {found.versions[1]}",
            f"this process is Python {here[0]} with parsl {here[1]}; what is sent between them may not be understood",
            "use the same environment on both sides",
        )
    return ok("python", f"a block that begins {where} has the same Python and parsl")


def _cloud_command(case: Case) -> Iterator[Finding]:
    """See whether nodes of a cloud are told to start this host's Python."""
    if "{python}" in (case.option("launch_cmd") or ""):
        yield warn(
            "python",
            f"nodes are told to start {sys.executable}",
            "that is this host's Python; an image has its own elsewhere",
            "launch_cmd=DEFAULT_LAUNCH_CMD.replace('{python}', 'python3'), as in parsl.configs.kubernetes",
        )
