"""The plots, as figures in the form of plotly: plain dicts, of plain data, that know nothing of database and web.

Colours are names of variables of the style sheet, `var(--done)`, which the browser looks up: so they follow the scheme,
light or dark. A point that leads somewhere has the path as its `customdata`.
"""

from __future__ import annotations

import html
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parsl.dataflow.states import States
from parsl.monitoring.queries.graphs import Edge, Graph
from parsl.monitoring.queries.plots import Bar, Lane, Moment, Usage
from parsl.monitoring.totals import DURATIONS
from parsl.monitoring.visualization import words
from parsl.monitoring.visualization.layers import positions

Figure = dict[str, Any]

# An edge is drawn as a curve through so many points.
_STEPS = 17
_MOST_EDGES = 4000
_MOST_APPS = 7


def plain(text: Any, longest: int = 80) -> str:
    """Take out of a text what plotly would read as mark-up, and what is too long for a plot."""
    whole = str(text)
    return html.escape(whole if len(whole) <= longest else f"{whole[: longest - 1]}…", quote=False)


def states_over_time(moments: Sequence[Moment]) -> Figure:
    """Draw how many tasks were in which state over time, on top of one another."""
    at = [words.exact(moment.at) for moment in moments]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "stackgroup": "tasks",
            "name": name,
            "x": at,
            "y": [getattr(moment, field) for moment in moments],
            "line": {"width": 0.5, "color": f"var(--{field})"},
            "fillcolor": f"var(--{field})",
            "hovertemplate": "%{y:,}",
        }
        for field, name in (("done", "done"), ("failed", "failed"), ("launched", "launched"), ("pending", "pending"))
        if field in {"done", "launched"} or any(getattr(moment, field) for moment in moments)
    ]
    return _figure(traces, hovermode="x unified", yaxis={"rangemode": "tozero", "tickformat": ",d"})


def gantt(bars: Sequence[Bar], now: float, url: Callable[[int], str]) -> Figure:
    """Draw tries as bars from begin to end, a lane for each worker."""
    lanes = sorted({bar.lane for bar in bars})
    by_kind: dict[str, list[Bar]] = {}
    for bar in bars:
        by_kind.setdefault(_kind(bar), []).append(bar)
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": words.KINDS[kind],
            "y": [plain(bar.lane) for bar in some],
            "base": [words.exact(bar.began) for bar in some],
            "x": [max(((bar.ended or now) - bar.began) * 1000.0, 1.0) for bar in some],
            "marker": {"color": f"var(--{kind})", "line": {"width": 1, "color": "var(--card)"}},
            "text": [
                f"{plain(bar.app)}, task {bar.task}, {words.duration((bar.ended or now) - bar.began)}" for bar in some
            ],
            "textposition": "none",
            "hovertemplate": "%{text}<extra>" + words.KINDS[kind] + "</extra>",
            "customdata": [url(bar.task) for bar in some],
        }
        for kind, some in by_kind.items()
    ]
    return _figure(
        traces,
        barmode="overlay",
        height=min(max(24 * len(lanes) + 90, 180), 1400),
        xaxis={"type": "date"},
        yaxis={"type": "category", "categoryorder": "array", "categoryarray": [plain(x) for x in reversed(lanes)]},
    )


def _kind(bar: Bar) -> str:
    return "running" if bar.ended is None else words.state_kind(bar.state)


def busy(usage: Usage) -> Figure:
    """Draw how busy each worker or node was, as a heat map."""
    lanes = list(reversed(usage.lanes))
    # One lane that is far busier than the others, as that of an executor of threads may be, leaves them their colours.
    most = [max(lane.busy, default=0.0) for lane in lanes] or [0.0]
    trace = {
        "type": "heatmap",
        "x": _bins(usage),
        "y": [plain(lane.label) for lane in lanes],
        "z": [[round(value, 3) for value in lane.busy] for lane in lanes],
        "zmin": 0,
        "zmax": max(1.0, statistics.median(most)),
        "colorscale": [[0, "var(--card)"], [1, "var(--accent)"]],
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": _title("tries") | {"side": "right"}},
        "hovertemplate": "%{y}<br>%{x}<br>%{z:.2f} tries<extra></extra>",
        "ygap": 2,
    }
    return _figure(
        [trace],
        height=min(max(20 * len(lanes) + 90, 160), 1500),
        xaxis={"type": "date"},
        yaxis={"type": "category"},
        showlegend=False,
    )


def node_usage(usage: Usage, kind: str) -> Figure:
    """Draw what the tries on each node used over time; `kind` is 'busy', 'cpu' or 'memory'."""
    # Of an executor's own tries, which no worker measures, only whether they ran is known.
    used = [lane for lane in usage.lanes if kind == "busy" or any(getattr(lane, kind))]
    most = sorted(used, key=lambda lane: -sum(getattr(lane, kind)))
    shown, rest = most[:_MOST_APPS], most[_MOST_APPS:]
    if rest:
        sums = [sum(values) for values in zip(*(getattr(lane, kind) for lane in rest), strict=True)]
        shown = [*shown, Lane(f"{len(rest)} more", sums, sums, sums)]
    at = _bins(usage)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "stackgroup": "nodes",
            "name": plain(lane.label),
            "x": at,
            "y": [round(value, 3) for value in getattr(lane, kind)],
            "line": {"width": 1, "shape": "hv", "color": f"var(--series-{number % 8})"},
            "hovertemplate": "%{y:.3s}B" if kind == "memory" else "%{y:.2f}",
        }
        for number, lane in enumerate(shown)
    ]
    axis: dict[str, Any] = {"rangemode": "tozero"}
    if kind == "memory":
        axis |= {"tickformat": "~s", "ticksuffix": "B"}
    return _figure(traces, hovermode="x unified", xaxis={"type": "date"}, yaxis=axis)


def _bins(usage: Usage) -> list[str]:
    number = max((len(lane.busy) for lane in usage.lanes), default=0)
    return [words.exact(usage.began + (at + 0.5) * usage.width) for at in range(number)]


def durations(by_app: Mapping[str, Sequence[int]]) -> Figure:
    """Draw for each app how many tries took how long; the apps with most tries, the rest together."""
    most = sorted(by_app.items(), key=lambda item: -sum(item[1]))
    shown = most[:_MOST_APPS]
    if most[_MOST_APPS:]:
        sums = [sum(values) for values in zip(*(numbers for _, numbers in most[_MOST_APPS:]), strict=True)]
        shown = [*shown, (f"{len(most) - _MOST_APPS} more", sums)]
    used = [at for at in range(len(DURATIONS) + 1) if any(numbers[at] for _, numbers in shown)]
    classes = range(used[0], used[-1] + 1) if used else range(0)
    labels = [_class_label(at) for at in classes]
    traces = [
        {
            "type": "bar",
            "name": plain(app, 40),
            "x": labels,
            "y": [numbers[at] for at in classes],
            "marker": {"color": f"var(--series-{number % 8})"},
            "hovertemplate": "%{y:,} tries<extra>" + plain(app, 40) + "</extra>",
        }
        for number, (app, numbers) in enumerate(shown)
    ]
    return _figure(
        traces, barmode="stack", xaxis={"type": "category"}, yaxis={"tickformat": ",d", "title": _title("tries")}
    )


def _class_label(at: int) -> str:
    def short(seconds: float) -> str:
        for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
            if seconds >= length:
                return f"{seconds / length:.3g} {unit}"
        return f"{seconds * 1000:.3g} ms"

    if at == len(DURATIONS):
        return f"> {short(DURATIONS[-1])}"
    return f"≤ {short(DURATIONS[at])}"


def graph(drawn: Graph, url: Callable[[int | str], str]) -> Figure:
    """Draw which tasks, or which apps, wait for which: what comes first is on the left."""
    by_app = any(isinstance(node.key, str) for node in drawn.nodes)
    at = positions([node.key for node in drawn.nodes], [(edge.before, edge.after) for edge in drawn.edges])
    itself = {edge.before: edge.number for edge in drawn.edges if edge.before == edge.after}
    traces = [
        _curves([edge for edge in drawn.edges if edge.join is join][:_MOST_EDGES], at, join) for join in (False, True)
    ]
    by_kind: dict[str, list[Any]] = {}
    for node in drawn.nodes:
        by_kind.setdefault(_worst(node.states), []).append(node)
    for kind, nodes in by_kind.items():
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text" if by_app else "markers",
                "name": words.KINDS[kind],
                "x": [at[node.key][0] for node in nodes],
                "y": [-at[node.key][1] for node in nodes],
                "text": [f"<b>{plain(node.app, 28)}</b><br>{_summary(node.states)}" for node in nodes],
                "textposition": "bottom center",
                "hovertext": [_hover(node, itself.get(node.key, 0), by_app) for node in nodes],
                "hoverinfo": "text",
                "marker": {
                    "size": 26 if by_app else 12,
                    "color": f"var(--{kind})",
                    "line": {"width": 2, "color": "var(--card)"},
                },
                "customdata": [url(node.key) for node in nodes],
                "cliponaxis": False,
            }
        )
    rows = [row for _, row in at.values()] or [0.0]
    columns = [column for column, _ in at.values()] or [0.0]
    height = (max(rows) - min(rows) + 1) * (84 if by_app else 17) + 110
    # Room at the sides for the words below the nodes.
    axis = {"visible": False, "range": [min(columns) - 0.6, max(columns) + 0.6]}
    return _figure(
        traces, height=min(max(height, 260), 1600), hovermode="closest", xaxis=axis, yaxis={"visible": False}
    )


def _curves(edges: Sequence[Edge], at: Mapping[Any, tuple[float, float]], join: bool) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    for edge in edges:
        if edge.before == edge.after:
            continue
        (left, above), (right, below) = at[edge.before], at[edge.after]
        for step in range(_STEPS):
            share = step / (_STEPS - 1)
            eased = share * share * (3 - 2 * share)
            x.append(round(left + (right - left) * share, 3))
            y.append(round(-(above + (below - above) * eased), 3))
        x.append(None)
        y.append(None)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "started by a join app" if join else "depends on",
        "x": x,
        "y": y,
        "line": {"width": 1.2, "color": "var(--edge)", "dash": "dot" if join else "solid"},
        "hoverinfo": "skip",
        "showlegend": bool(x),
    }


def _worst(states: Mapping[States, int]) -> str:
    """Choose the colour of a node: what has failed first, then what goes on, then what is done."""
    order = (
        States.failed, States.dep_fail, States.fail_retryable, States.running, States.launched, States.joining,
        States.pending, States.exec_done, States.memo_done,
    )  # fmt: skip
    return next((words.state_kind(state) for state in order if states.get(state)), "pending")


def _summary(states: Mapping[States, int]) -> str:
    total = sum(states.values())
    ended = states.get(States.exec_done, 0) + states.get(States.memo_done, 0)
    return f"{ended:,} of {total:,}"


def _hover(node: Any, itself: int, by_app: bool) -> str:
    lines = [f"<b>{plain(node.app)}</b>"] if by_app else [f"<b>task {node.key}</b>", plain(node.app)]
    lines.extend(f"{number:,} {words.state_word(state)}" for state, number in node.states.items())
    if itself:
        lines.append(f"waits for itself {itself:,} times")
    return "<br>".join(lines)


def task_usage(samples: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw what the tries of one task used: CPU time and memory over time."""
    traces = []
    for number, try_id in enumerate(sorted({sample["try_id"] for sample in samples})):
        some = sorted((s for s in samples if s["try_id"] == try_id), key=lambda s: s["at"])
        at = [words.exact(s["at"]) for s in some]
        seconds = [round((s["user_time"] or 0) + (s["system_time"] or 0), 3) for s in some]
        colour = f"var(--series-{2 * number % 8})"
        other = f"var(--series-{(2 * number + 1) % 8})"
        common = {"type": "scatter", "mode": "lines+markers", "x": at}
        traces += [
            {**common, "name": f"CPU, try {try_id}", "y": seconds, "line": {"color": colour},
             "hovertemplate": "%{y:.2f} s"},
            {**common, "name": f"memory, try {try_id}", "y": [s["resident"] for s in some], "yaxis": "y2",
             "line": {"color": other, "dash": "dot"}, "hovertemplate": "%{y:.3s}B"},
        ]  # fmt: skip
    return _figure(
        traces,
        hovermode="x unified",
        xaxis={"type": "date"},
        yaxis={"rangemode": "tozero", "title": _title("CPU seconds")},
        yaxis2={
            "overlaying": "y", "side": "right", "rangemode": "tozero", "tickformat": ".3s", "ticksuffix": "B",
            "tickmode": "auto", "nticks": 5, "showgrid": False, "title": _title("memory"),
        },
    )  # fmt: skip


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": 12}}


def _figure(traces: Sequence[dict[str, Any]], **layout: Any) -> Figure:
    whole: dict[str, Any] = {"height": 300, "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}}
    return {"data": list(traces), "layout": whole | layout}
