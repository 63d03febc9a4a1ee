"""Checks of file staging: the libraries and programs that staging providers use, and the hosts that they name."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from parsl.doctor.findings import Finding, fail, ok, tail, warn
from parsl.doctor.probe import Probe

__all__ = ["check_staging"]

_MODULES: dict[str, tuple[str, str]] = {
    "FsspecInTaskStaging": ("fsspec", "fsspec"),
    "GlobusStaging": ("globus_sdk", "globus_transfer"),
}
"""By the staging provider's class: the module that it needs, and the extra that brings it."""

_PROGRAMS: dict[str, tuple[str, ...]] = {
    "RSyncStaging": ("rsync", "ssh"),
}

_SSH_SECONDS = 15.0


def check_staging(storage_access: list[Any] | None, probe: Probe) -> Iterator[Finding]:
    """Look at each staging provider of an executor.

    Args:
        storage_access: The providers; None for the default ones, which need nothing.
        probe: What is asked.
    """
    for staging in storage_access or []:
        name = type(staging).__name__
        problems = list(_problems(staging, name, probe))
        yield from problems
        if not problems:
            yield ok("staging", f"{name} has what it needs here")


def _problems(staging: Any, name: str, probe: Probe) -> Iterator[Finding]:
    module, extra = _MODULES.get(name, ("", ""))
    if module and not probe.has_module(module):
        yield fail("staging", f"{name} needs {module}", "it is not installed", f"pip install 'parsl[{extra}]'")
    for program in _PROGRAMS.get(name, ()):
        if not probe.has_program(program):
            reason = "it has to be here and on the nodes"
            yield fail("staging", f"{name} needs {program}", reason, f"install {program}, or load its module")
    if name == "RSyncStaging":
        yield from _rsync_host(staging.hostname, probe)


def _rsync_host(hostname: str, probe: Probe) -> Iterator[Finding]:
    """See whether ssh gets to the host that has the files, as it does on nodes, where nobody types a password."""
    bare = hostname.rpartition("@")[2]
    try:
        probe.resolve(bare)
    except OSError as error:
        yield fail("staging", f"RSyncStaging: host {bare!r} cannot be resolved", str(error), "name one that nodes know")
        return
    command = f"ssh -o BatchMode=yes -o ConnectTimeout=5 {shlex.quote(hostname)} true"
    answer = probe.bash(command, _SSH_SECONDS, login=False)
    if answer.code != 0:
        reason = f"{tail(answer.err)}\n{command}"
        remedy = "tasks with plain paths need a key that both sides know (`ssh-copy-id`); rsync:// URLs do not"
        yield warn("staging", f"RSyncStaging: ssh to {hostname} does not work without a password", reason, remedy)
