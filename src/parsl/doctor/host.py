"""Checks of this host: versions, the folder for runs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator

from parsl.doctor.case import Case, Place
from parsl.doctor.findings import Finding, fail, ok, warn
from parsl.doctor.probe import Probe
from parsl.version import VERSION

__all__ = ["check_folders", "check_keys", "check_monitoring", "check_run_dir", "check_versions"]

_ON_ONE_HOST = frozenset({"btrfs", "ext2", "ext3", "ext4", "overlay", "tmpfs", "xfs", "zfs", "apfs", "hfs", "ntfs"})


def check_versions() -> Iterator[Finding]:
    """Say what runs here; a Python that is too old does not get this far."""
    yield ok("versions", f"Python {platform.python_version()}, parsl {VERSION}, from {sys.executable}")


def check_run_dir(run_dir: str, probe: Probe) -> Iterator[Finding]:
    """See whether runs can keep their logs and files.

    Args:
        run_dir: Folder for runs.
        probe: What is asked.
    """
    yield from _writable("run folder", "run_dir", run_dir, "choose another place with Config(run_dir=...)", probe)


def check_monitoring(wanted: bool, probe: Probe) -> Iterator[Finding]:
    """See whether the library of the monitoring database is there, if that is wanted."""
    if not wanted:
        return
    if probe.has_module("sqlalchemy"):
        yield ok("monitoring", "sqlalchemy can be imported")
    else:
        yield fail(
            "monitoring", "monitoring needs sqlalchemy", "it is not installed", "pip install 'parsl[monitoring]'"
        )


def check_folders(case: Case, probe: Probe) -> Iterator[Finding]:
    """See whether scripts of blocks can be written, to where nodes can read them."""
    if case.provider is None:
        return
    if getattr(case.provider, "script_dir", None) is not None:
        remedy = "set script_dir of the provider to another folder"
        yield from _writable("script folder", "script_dir", case.script_dir, remedy, probe)
    if case.place is Place.CLUSTER:
        yield from _shared(case, probe)


def _writable(what: str, check: str, folder: str, remedy: str, probe: Probe) -> Iterator[Finding]:
    path = os.path.abspath(folder)
    try:
        probe.write(path)
    except OSError as error:
        yield fail(check, f"{what} {path} cannot be written", str(error), remedy)
    else:
        yield ok(check, f"{what} {path} can be written")


def _shared(case: Case, probe: Probe) -> Iterator[Finding]:
    """Judge by its kind whether a file system is this host's own; the task that is run later sees for itself."""
    folder = os.path.abspath(case.script_dir if getattr(case.provider, "script_dir", None) else case.run_dir)
    kind = probe.file_system(folder)
    if kind not in _ON_ONE_HOST:
        yield ok("shared folder", f"{folder} is on a file system that nodes may share ({kind or 'of unknown kind'})")
        return
    yield warn(
        "shared folder",
        f"{folder} is on a file system that is likely this host's own ({kind})",
        "nodes read the block's script, the keys of encrypted connections and write their logs there",
        "start the script in a folder that all nodes see, or name one with Config(run_dir=...)",
    )


def check_keys(case: Case, probe: Probe) -> Iterator[Finding]:
    """See whether keys for encrypted connections can be made, and reach the nodes."""
    encrypted = case.option("encrypted")
    if encrypted is None:
        return
    if not encrypted:
        if case.place is not Place.HERE:
            yield warn(
                "encryption",
                "connections between nodes are not encrypted, and anybody who reaches the port can send tasks",
                "the executor says encrypted=False",
                "keep that network to yourself, or give nodes the keys of the run folder and say encrypted=True",
            )
        return
    try:
        probe.keys(case.run_dir)
    except (OSError, ValueError) as error:
        yield fail(
            "encryption",
            f"keys for encrypted connections cannot be kept in {os.path.abspath(case.run_dir)}",
            str(error),
            "choose a run_dir on a file system that knows who owns a file, or say encrypted=False",
        )
        return
    if case.place is Place.CLOUD:
        yield warn(
            "encryption",
            "nodes read the keys of encrypted connections from the run folder, which a cloud does not see",
            remedy="mount that folder on the nodes at the same path, or say encrypted=False in a network of your own",
        )
    else:
        yield ok("encryption", "keys for encrypted connections can be made and read")
