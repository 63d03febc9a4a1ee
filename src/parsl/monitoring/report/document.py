"""A run as one HTML file: what there is to say is read from the database, and put into a template."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from parsl.dataflow.explanations import span
from parsl.dataflow.states import FINAL_FAILURE_STATES, FINAL_STATES, States
from parsl.errors import OptionalModuleMissing
from parsl.monitoring import visualization
from parsl.monitoring.queries import plots
from parsl.monitoring.queries.failures import causes
from parsl.monitoring.report.drawing import Layer, areas, columns
from parsl.monitoring.totals import DURATIONS
from parsl.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from parsl.monitoring.queries.runs import App, Run, RunQueries

NEEDS_JINJA = "The report is filled in by it: pip install 'parsl[report]'"

# So many causes of failures have their traceback, so many tasks are told of as the slowest, and so many nodes.
_CAUSES = 40
_SLOWEST = 15
_NODES = 500

# Apps beyond share a colour.
_COLOURS = 7
_OTHERS = f"series-{_COLOURS}"

# The classes of what is drawn, each of which has the colour of that name.
_KINDS = ("done", "failed", "running", "launched", "pending", *(f"series-{n}" for n in range(_COLOURS + 1)))

# The password in a URL; the rest of it is told.
_PASSWORD = re.compile(r"(://[^:/@\s'\"]*:)[^/@\s'\"]*@")

# Of the first line of a run's log, which has the configuration.
_CONFIGURATION = re.compile(r"Run \S+ in .*? with (Config\(.*)", re.DOTALL)
_LONGEST_CONFIGURATION = 20_000

# Stands where there is no number.
NOTHING = "\N{EN DASH}"


def render(queries: RunQueries, run: Run, run_dir: str | None = None) -> str:
    """Return the report of a run as HTML: one text that needs nothing else, also when it has not ended.

    Args:
        queries: the database.
        run: the run.
        run_dir: its folder, for what its log tells of the configuration; None for where it was.

    Raises:
        OptionalModuleMissing: when Jinja is not installed.
    """
    try:
        import jinja2
    except ImportError as e:
        raise OptionalModuleMissing(["jinja2"], NEEDS_JINJA) from e
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(moment=moment, span=span, seconds=seconds, bytes=size)
    return environment.get_template("report.html").render(facts(queries, run, run_dir))


def facts(queries: RunQueries, run: Run, run_dir: str | None = None) -> dict[str, Any]:
    """Return what the template shows of a run."""
    number = run.run
    states = queries.state_counts(number)
    began, ended = plots.span(queries, number)
    apps = queries.apps(number)
    made = {
        "run": run,
        "took": ended - began,
        "total": sum(states.values()),
        "ended": sum(states.get(s, 0) for s in FINAL_STATES),
        "failed": sum(states.get(s, 0) for s in FINAL_FAILURE_STATES),
        "states": [(state.name, states[state]) for state in States if states.get(state)],
        "apps": [_app(app) for app in apps],
        "slowest": queries.slowest(number, _SLOWEST),
        "causes": causes(queries, number, _CAUSES),
        "nodes": _nodes(queries, number),
        "blocks": queries.blocks(number),
        "configuration": configuration(run_dir or run.rundir),
        "version": VERSION,
        "kinds": _KINDS,
        "colours": colours(),
        "now": time.time(),
    }
    return {**made, **_plots(queries, number, ended - began, [app.app or "?" for app in apps])}


def colours() -> str:
    """Return the colours of the live page, light and dark, as CSS: a report is to look like it."""
    path = os.path.join(os.path.dirname(visualization.__file__), "static", "page.css")
    with open(path, encoding="utf-8") as file:
        # They stand at the head of it, before the first rule for an element.
        return file.read().partition("\n*,")[0]


def _app(app: App) -> dict[str, Any]:
    failed = sum(app.states.get(s, 0) for s in FINAL_FAILURE_STATES)
    ended = sum(app.states.get(s, 0) for s in FINAL_STATES)
    return {
        "name": app.app or "?",
        "tasks": sum(app.states.values()),
        "done": ended - failed,
        "failed": failed,
        "mean": app.mean_seconds,
        "most": app.most_seconds,
        "total": app.total_seconds,
    }


def _nodes(queries: RunQueries, run: int) -> list[dict[str, Any]]:
    """Return the nodes of a run, each once, with what its tries used."""
    used = {row["hostname"]: row for row in queries.resources_by_node(run)}
    found: dict[str, dict[str, Any]] = {}
    for manager in queries.managers(run):
        node = found.setdefault(manager["hostname"] or "?", {**manager, "workers": 0, "tries": 0, "cpu_seconds": None})
        node["workers"] = max(node["workers"], manager["worker_count"] or 0)
    for hostname, row in used.items():
        found.setdefault(hostname or "?", {"workers": 0, "cpu_count": None, "total_memory": None}).update(row)
    return [{**node, "hostname": name} for name, node in sorted(found.items())][:_NODES]


def _plots(queries: RunQueries, run: int, took: float, apps: Sequence[str]) -> dict[str, Any]:
    moments = plots.states_over_time(queries, run)
    over_time = [
        Layer("done", "done", [float(m.done) for m in moments]),
        Layer("failed", "failed", [float(m.failed) for m in moments]),
        Layer("with an executor", "launched", [float(m.launched) for m in moments]),
        Layer("waiting", "pending", [float(m.pending) for m in moments]),
    ]
    lanes = plots.usage_over_time(queries, run).lanes
    busy = [sum(lane.busy[at] for lane in lanes) for at in range(len(lanes[0].busy))] if lanes else []
    classes, labels = _durations(plots.durations(queries, run), apps)
    return {
        "progress": areas(over_time, took, "Tasks by state over time"),
        "progress_legend": over_time,
        "busy": areas([Layer("tasks that run at once", "running", busy)], took, "Tasks that ran at once over time"),
        "durations": columns(classes, labels, "How many tasks took how long"),
        "durations_legend": classes,
    }


def _durations(found: Mapping[str, Sequence[int]], apps: Sequence[str]) -> tuple[list[Layer], list[str]]:
    """Turn durations by app into layers, those of the apps that took longest first, and cut off empty classes."""
    ends = [*(seconds(end) for end in DURATIONS), "longer"]
    used = [at for at in range(len(ends)) if any(counts[at] for counts in found.values())]
    if not used:
        return [], []
    first, last = used[0], used[-1] + 1
    order = sorted(found, key=lambda app: apps.index(app) if app in apps else len(apps))
    layers = [
        Layer(app, f"series-{at}", [float(n) for n in found[app][first:last]])
        for at, app in enumerate(order[:_COLOURS])
    ]
    others = order[_COLOURS:]
    if others:
        sums = [float(sum(found[app][at] for app in others)) for at in range(first, last)]
        layers.append(Layer(f"{len(others)} other apps", _OTHERS, sums))
    return layers, ends[first:last]


def configuration(run_dir: str | None) -> str | None:
    """Return the configuration of a run as its log has it, without passwords; None where there is none to be read."""
    try:
        with open(os.path.join(run_dir or "", "parsl.log"), encoding="utf-8", errors="replace") as file:
            head = file.read(_LONGEST_CONFIGURATION)
    except OSError:
        return None
    found = _CONFIGURATION.search(head)
    if found is None:
        return None
    # Up to the next line that begins as lines of the log do.
    text = re.split(r"\n(?=\d{4}-\d\d-\d\d |\d+\.\d+ )", found[1])[0]
    return _PASSWORD.sub(r"\1***@", text.strip())


def moment(at: float | None) -> str:
    """Return a time in words, in local time."""
    return NOTHING if at is None else time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def seconds(value: float | None) -> str:
    """Return a duration with three digits, in a unit that suits it."""
    if value is None:
        return NOTHING
    if value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if value < 100 else span(value)


def size(value: float | None) -> str:
    """Return a number of bytes in a unit that suits it."""
    if value is None:
        return NOTHING
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
