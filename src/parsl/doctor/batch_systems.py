"""Checks of batch systems: their programs, and whether they know what is asked of them. Nothing is submitted."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from parsl.doctor.findings import Finding, fail, ok, warn
from parsl.doctor.probe import Probe
from parsl.providers.batch_system import BatchSystem
from parsl.providers.commands import Answer
from parsl.providers.scripts import render

__all__ = ["check_programs", "check_system", "programs_of"]


def programs_of(provider: BatchSystem) -> dict[str, bool]:
    """Name the programs that a provider calls, from its own command lines.

    Returns:
        For each program, whether blocks cannot be had without it.
    """
    commands: list[tuple[Callable[[], str | None], bool]] = [
        (lambda: provider.submit_command("script.sh"), True),
        (lambda: provider.status_command(["1"]), True),
        (lambda: provider.cancel_command(["1"]), True),
        (lambda: provider.history_command(["1"]), False),
    ]
    found: dict[str, bool] = {}
    for command, needed in commands:
        with contextlib.suppress(NotImplementedError):  # a subclass that replaced the verb as a whole
            # A loop over jobs calls its program after `do`.
            words = re.sub(r"^for .*?; do ", "", command() or "").split(maxsplit=1)
            if words:
                found.setdefault(words[0], needed)
    return found


def check_programs(provider: BatchSystem, probe: Probe) -> Iterator[Finding]:
    """See whether the batch system's programs are where the provider runs them."""
    there = []
    for program, needed in programs_of(provider).items():
        if probe.ask(provider, f"command -v {shlex.quote(program)}").code == 0:
            there.append(program)
        elif needed:
            remedy = "start the script on a login node, or load the module that brings the batch system's commands"
            yield fail("commands", f"{program} is not on the PATH", f"{type(provider).__name__} calls it", remedy)
        else:
            reason = "how a job ended may stay unknown when the queue has forgotten it"
            yield warn("commands", f"{program} is not on the PATH", reason)
    if there:
        yield ok("commands", f"{', '.join(there)} found")


def check_system(provider: BatchSystem, probe: Probe) -> Iterator[Finding]:
    """Ask the batch system whether it is up, and knows the partition or queue; one that is not known is not asked."""
    for kind in type(provider).__mro__:
        if kind.__name__ in _SYSTEMS:
            yield from _SYSTEMS[kind.__name__](provider, probe)
            return


# -- Slurm -------------------------------------------------------------------------------------------------------------


def _slurm(provider: Any, probe: Probe) -> Iterator[Finding]:
    clusters = f" --clusters={shlex.quote(provider.clusters)}" if provider.clusters else ""
    answer = probe.ask(provider, f"sinfo --noheader --format='%R|%a|%l|%D'{clusters}")
    if answer.code != 0:
        yield _silent("Slurm", answer)
        return
    rows = [line.strip().split("|") for line in answer.out.splitlines() if line.count("|") == 3]
    names = [row[0] for row in rows]
    yield ok("scheduler", f"Slurm answers; partitions: {', '.join(names)}")
    row = next((row for row in rows if row[0] == provider.partition), None)
    if provider.partition is not None and row is None and "," not in provider.partition:
        yield _unknown("partition", provider.partition, names)
        return
    complaints = [] if row is None else list(_judge_partition(provider, row))
    yield from complaints
    if not complaints:
        yield _slurm_verdict(provider, probe)


def _judge_partition(provider: Any, row: list[str]) -> Iterator[Finding]:
    name, state, limit, nodes = row
    if state != "up":
        yield fail("partition", f"partition {name!r} is {state}", remedy="choose one that is up, see `sinfo`")
    if provider.nodes_per_block > int(re.sub(r"\D", "", nodes) or 0):
        text = f"partition {name!r} has {nodes} nodes, fewer than the {provider.nodes_per_block} of a block"
        yield fail("partition", text, remedy="ask for fewer with nodes_per_block=, or choose another partition")
    most, wanted = slurm_minutes(limit), slurm_minutes(provider.walltime)
    if most is not None and wanted is not None and wanted > most:
        text = f"walltime {provider.walltime} ({wanted:g} min) is more than partition {name!r} allows ({most:g} min)"
        yield fail("walltime", text, "such a job waits for ever, or is refused", "ask for less with walltime=")


def slurm_minutes(text: str) -> float | None:
    """Read a time limit in one of Slurm's forms: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S; None for "infinite" and others."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        return None
    days, *parts = (None if part is None else int(part) for part in match.groups())
    first, second, third = parts
    assert first is not None
    if days is not None:
        return days * 1440 + first * 60 + (second or 0) + (third or 0) / 60
    if third is not None:
        return first * 60 + (second or 0) + third / 60
    return first + (second or 0) / 60


def _slurm_verdict(provider: Any, probe: Probe) -> Finding:
    """Have Slurm judge the script's options as a whole: account, QOS, constraints, GPUs."""
    try:
        options = render(provider.template, provider.template_values("parsl-doctor", "/dev/null", 1))
    except ValueError as error:
        return fail("options", "the options of the job cannot be written", str(error))
    script = f"#!/bin/bash\n{options}{provider.scheduler_options}\ntrue\n"
    answer = probe.ask(provider, f"sbatch --test-only <<'PARSL_DOCTOR'\n{script}PARSL_DOCTOR")
    said = (answer.err.strip() or answer.out.strip()).splitlines()
    if answer.code == 0:
        return ok("options", _promise(said))
    remedy = "correct what Slurm names; `sacctmgr show associations user=$USER` lists accounts and QOS"
    return fail("options", "Slurm would refuse such a job", "\n".join(said) or answer.words, remedy)


def _promise(lines: list[str]) -> str:
    """Tell when Slurm thinks the job would start: "Job 7 to start at ... using 4 processors on nodes ..."."""
    promise = next((line for line in reversed(lines) if " to start at " in line), "")
    where = re.search(r"to start at (\S+) .*?on nodes? (\S+)", promise)
    return f"Slurm would start such a job at {where[1]} on {where[2]}" if where else "Slurm would take such a job"


# -- the others --------------------------------------------------------------------------------------------------------


def _pbs(provider: Any, probe: Probe) -> Iterator[Finding]:
    answer = probe.ask(provider, "qstat -Q")
    if answer.code != 0:
        yield _silent("PBS", answer)
        return
    known = [row[0] for row in _pbs_rows(answer.out)]
    yield ok("scheduler", f"PBS answers; queues: {', '.join(known) or 'none shown'}")
    if provider.queue is None:
        return
    # Asked for by its name, as PBS cuts long names in its table; what follows @ is a server.
    asked = probe.ask(provider, f"qstat -Q {shlex.quote(provider.queue)}")
    if asked.code != 0:
        yield _unknown("queue", provider.queue, known)
    for name, enabled, started in _pbs_rows(asked.out):
        if "no" in {enabled, started}:
            what = "takes no jobs" if enabled == "no" else "takes jobs, and starts none"
            yield fail("queue", f"queue {name!r} {what}", remedy="choose another, see `qstat -Q`")


def _pbs_rows(text: str) -> list[tuple[str, str, str]]:
    """Read `qstat -Q`: of each queue its name, whether it is enabled, and whether it is started."""
    return re.findall(r"^(\S+)\s+\S+\s+\S+\s+(yes|no)\s+(yes|no)\s", text, re.MULTILINE)


def _lsf(provider: Any, probe: Probe) -> Iterator[Finding]:
    answer = probe.ask(provider, "bqueues -w")
    if answer.code != 0:
        yield _silent("LSF", answer)
        return
    rows = dict(re.findall(r"^(\S+)\s+\d+\s+(\S+:\S+)", answer.out, re.MULTILINE))
    yield ok("scheduler", f"LSF answers; queues: {', '.join(rows)}")
    if provider.queue is None:
        return
    if provider.queue not in rows:
        yield _unknown("queue", provider.queue, list(rows))
    elif not rows[provider.queue].startswith("Open"):
        yield fail("queue", f"queue {provider.queue!r} is {rows[provider.queue]}", remedy="choose one that is Open")


def _grid_engine(provider: Any, probe: Probe) -> Iterator[Finding]:
    answer = probe.ask(provider, "qconf -sql")
    if answer.code != 0:
        yield _silent("Grid Engine", answer)
        return
    queues = answer.out.split()
    yield ok("scheduler", f"Grid Engine answers; queues: {', '.join(queues)}")
    if provider.queue is not None and provider.queue.partition("@")[0] not in queues:
        yield _unknown("queue", provider.queue, queues)
    wanted = re.findall(r"^#\$.*?-pe\s+([^\s*]+)\s", provider.scheduler_options, re.MULTILINE)
    if wanted:
        there = probe.ask(provider, "qconf -spl").out.split()
        for name in wanted:
            if name not in there:
                yield _unknown("parallel environment", name, there)


def _condor(provider: Any, probe: Probe) -> Iterator[Finding]:
    answer = probe.ask(provider, "condor_status -autoformat State")
    if answer.code != 0:
        yield _silent("HTCondor", answer)
        return
    slots = answer.out.split()
    if slots:
        yield ok("scheduler", f"HTCondor answers; slots: {len(slots)}, unclaimed: {slots.count('Unclaimed')}")
    else:
        yield warn("scheduler", "HTCondor answers, and has no slots", remedy="see `condor_status`")
    queue = probe.ask(provider, "condor_q -totals")
    if queue.code != 0:
        yield fail("scheduler", "HTCondor has no queue that takes jobs from here", queue.words, "ask where to submit")


def _silent(system: str, answer: Answer) -> Finding:
    # Its program may be another one than ours, or a wrapper that does not do everything.
    if answer.code == 127 or re.search(r"(bad|invalid|illegal|unknown|unrecognized) option", answer.words):
        return warn("scheduler", f"whether {system} is up, and knows the queue, cannot be told", answer.words)
    remedy = "try the same command by hand; the system may be down, or this host may be none that may ask it"
    return fail("scheduler", f"{system} does not answer", answer.words, remedy)


def _unknown(kind: str, name: str, known: list[str]) -> Finding:
    check = kind.rsplit(maxsplit=1)[-1]
    return fail(check, f"there is no {kind} {name!r}", remedy=f"choose one of: {', '.join(known)}" if known else "")


_SYSTEMS: dict[str, Callable[[Any, Probe], Iterator[Finding]]] = {
    "SlurmProvider": _slurm,
    "TorqueProvider": _pbs,
    "PBSProProvider": _pbs,
    "LSFProvider": _lsf,
    "GridEngineProvider": _grid_engine,
    "CondorProvider": _condor,
}
"""How to ask each batch system, by its provider's class; a subclass of one is asked in the same way."""
