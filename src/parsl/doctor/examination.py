"""The order of checks: first what asks nobody, then this host, then batch systems and clouds."""

from __future__ import annotations

from collections.abc import Iterator

from parsl.config import Config
from parsl.doctor.batch_systems import check_programs, check_system
from parsl.doctor.case import Case, Place
from parsl.doctor.clouds import check_cloud, check_sdk
from parsl.doctor.findings import Finding, Mark, fail, warn
from parsl.doctor.host import check_folders, check_keys, check_monitoring, check_run_dir, check_versions
from parsl.doctor.network import check_network
from parsl.doctor.placeholders import check_placeholders
from parsl.doctor.probe import Probe
from parsl.doctor.rehearsal import check_block_start, check_launcher
from parsl.doctor.report import Report
from parsl.doctor.staging import check_staging

__all__ = ["examine", "examine_executor"]


def examine(config: Config, probe: Probe, report: Report) -> list[str]:
    """Do all checks that spend nothing.

    Args:
        config: The configuration; nothing of it is started.
        probe: What is asked.
        report: Where findings go.

    Returns:
        The labels of executors that nothing is known to be wrong with, so that a task may be run on them.
    """
    report.section("this host")
    sound = report.add_all(check_versions())
    sound = report.add_all(check_run_dir(config.run_dir, probe)) and sound
    sound = report.add_all(check_monitoring(config.monitoring is not None, probe)) and sound
    labels = []
    for executor in config.executors:
        case = Case(executor, config.run_dir, config.strategy)
        report.section(case.title)
        if report.add_all(examine_executor(case, probe)) and sound:
            labels.append(executor.label)
    return labels


def examine_executor(case: Case, probe: Probe) -> Iterator[Finding]:
    """Do the checks of one executor; what cannot succeed any more is left out."""
    placeholders = list(check_placeholders(case.executor))
    yield from placeholders
    yield from check_block_numbers(case)
    yield from check_launcher(case)
    yield from check_folders(case, probe)
    yield from check_keys(case, probe)
    yield from check_network(case, probe)
    yield from check_block_start(case, probe)
    yield from check_staging(case.executor.storage_access, probe)
    yield from _check_provider(case, probe, ask=not placeholders)


def _check_provider(case: Case, probe: Probe, *, ask: bool) -> Iterator[Finding]:
    """See what blocks come from; it is asked for what is named only if that is not a placeholder."""
    if case.batch_system is not None:
        programs = list(check_programs(case.batch_system, probe))
        yield from programs
        if ask and not _failed(programs):
            yield from check_system(case.batch_system, probe)
    elif case.place is Place.CLOUD:
        library = list(check_sdk(case.provider, probe))
        yield from library
        if ask and not _failed(library):
            yield from check_cloud(case.provider)


def check_block_numbers(case: Case) -> Iterator[Finding]:
    """See whether there will ever be a block."""
    provider = case.provider
    if provider is None:
        return
    if provider.max_blocks < 1:
        yield fail("blocks", "max_blocks is 0", "no block is ever asked for", "set max_blocks to 1 or more")
    elif provider.init_blocks < 1 and case.strategy in {None, "none"}:
        reason = f"init_blocks is 0, and strategy {case.strategy!r} asks for none later"
        yield fail("blocks", "no block is ever asked for", reason, "set init_blocks=1, or Config(strategy='simple')")
    elif provider.min_blocks > provider.max_blocks:
        text = f"min_blocks ({provider.min_blocks}) is more than max_blocks ({provider.max_blocks})"
        yield warn("blocks", text, remedy="raise max_blocks")


def _failed(findings: list[Finding]) -> bool:
    return any(finding.mark is Mark.FAIL for finding in findings)
