"""From what a user names on a command line (a URL, a file, a folder) to a monitoring database and a run in it."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from parsl.monitoring.db_manager import ABOUT, journal_folder
from parsl.monitoring.queries.runs import RunQueries

if TYPE_CHECKING:
    from parsl.monitoring.queries.runs import Run

# A scheme of SQLAlchemy's, with or without a driver.
_URL = re.compile(r"[a-z0-9+]+://")

DATABASE = "monitoring.db"

WHAT_TARGETS_ARE = (
    "a run folder (runinfo/000), the folder of run folders (runinfo), a database file, or a database's URL "
    "(sqlite:///path, postgresql://user:password@host/name)"
)


class NoSuchRunError(ValueError):
    """What was named holds no run that can be shown; the text says why."""


def open_queries(target: str | os.PathLike[str]) -> tuple[RunQueries, Run | None]:
    """Open the database that a user means.

    Args:
        target: see `WHAT_TARGETS_ARE`.

    Returns:
        The database, to be closed; and the run, when the folder of one was named.

    Raises:
        NoSuchRunError: when nothing of the kind is there, or the run had no monitoring.
        ValueError: when the database is of another version, or the URL cannot be read.
        OptionalModuleMissing: when SQLAlchemy is not installed.
    """
    text = os.fspath(target)
    if _URL.match(text):
        return _opened(text), None
    if os.path.isfile(text):
        return _opened(f"sqlite:///{os.path.abspath(text)}"), None
    if not os.path.isdir(text):
        raise NoSuchRunError(f"there is no {text}: name {WHAT_TARGETS_ARE}")
    try:
        with open(os.path.join(journal_folder(text), ABOUT), encoding="utf-8") as file:
            about = json.load(file)
    except FileNotFoundError:
        return _of_folder(text), None
    except (PermissionError, json.JSONDecodeError) as e:
        raise NoSuchRunError(f"{text} does not tell its database: {e}") from e
    queries = _opened(about["url"])
    run = queries.run(about["run_id"])
    if run is None:
        queries.close()
        raise NoSuchRunError(f"the run of {text} is not in its database yet")
    return queries, run


def open_run(target: str | os.PathLike[str], run_id: str | None = None) -> tuple[RunQueries, Run]:
    """Open the run that a user means.

    Args:
        target: see `WHAT_TARGETS_ARE`.
        run_id: the unique name of the run, or the first characters of it; None for the one that `target` names, or
            else the newest.

    Raises:
        NoSuchRunError: when there is no such run, or several.
        ValueError: see `open_queries`.
        OptionalModuleMissing: see there.
    """
    queries, run = open_queries(target)
    try:
        return queries, _chosen(queries, run, os.fspath(target), run_id)
    except BaseException:
        queries.close()
        raise


def _chosen(queries: RunQueries, run: Run | None, target: str, run_id: str | None) -> Run:
    if run_id is not None:
        found = [r for r in queries.runs(limit=1000) if r.run_id.startswith(run_id)]
        if len(found) != 1:
            raise NoSuchRunError(f"{len(found)} runs in {target} have a name that begins with {run_id!r}")
        return found[0]
    run = run or next(iter(queries.runs(limit=1)), None)
    if run is None:
        raise NoSuchRunError(f"there is no run in {target}")
    return run


def _of_folder(folder: str) -> RunQueries:
    """Open the database in a folder of run folders; tell what is the matter with a folder that has none."""
    path = os.path.join(folder, DATABASE)
    if os.path.exists(path):
        return _opened(f"sqlite:///{os.path.abspath(path)}")
    if os.path.exists(os.path.join(folder, "parsl.log")):
        raise NoSuchRunError(
            f"{folder} is the folder of a run without monitoring, of which no more is known than its parsl.log tells: "
            "give Config(monitoring=MonitoringHub()) to the next one"
        )
    raise NoSuchRunError(f"{folder} holds no {DATABASE}, and is no run folder: name {WHAT_TARGETS_ARE}")


def _opened(url: str) -> RunQueries:
    try:
        return RunQueries(url)
    except FileNotFoundError as e:
        raise NoSuchRunError(str(e)) from e
