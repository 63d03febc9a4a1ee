"""Plots of a report as SVG: small, sharp at any size, and with no library behind them. Pure functions."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from parsl.dataflow.explanations import span

if TYPE_CHECKING:
    from collections.abc import Sequence

# The size of a plot in its own units, and what its axes take of that.
WIDTH, HEIGHT = 720.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 8.0, 8.0, 28.0

_STEPS = (1, 2, 5)

# What is less is not to be seen: tasks are counted, and means of them are drawn.
_NOTHING = 1e-9


class Layer(NamedTuple):
    """One colour of a plot.

    Attributes:
        label: what it stands for.
        kind: the class that gives it its colour.
        values: a value for each place along the axis.
    """

    label: str
    kind: str
    values: Sequence[float]


def ticks(most: float, about: int = 4) -> list[float]:
    """Return round numbers from 0 to at least `most`, some `about` of them."""
    if not most > _NOTHING:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most / about))
    step = next((s * power for s in _STEPS if s * power * about >= most), 10 * power)
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]


def areas(layers: Sequence[Layer], seconds: float, title: str) -> str:
    """Draw layers on top of one another over time.

    Args:
        layers: from the bottom to the top; of one length each.
        seconds: how long the axis is.
        title: what is to be seen, for who cannot see it.
    """
    bins = max((len(layer.values) for layer in layers), default=0)
    if not bins:
        return ""
    marks = ticks(max(sum(layer.values[at] for layer in layers) for at in range(bins)))
    floor = [0.0] * bins
    parts = []
    for layer in layers:
        top = [low + value for low, value in zip(floor, layer.values, strict=True)]
        edge = [_point(at, bins, value, marks[-1]) for at, value in enumerate(top)]
        back = [_point(at, bins, value, marks[-1]) for at, value in reversed(list(enumerate(floor)))]
        name = f"<title>{escape(layer.label)}</title>"
        parts.append(f'<polygon class="{layer.kind}" points="{" ".join([*edge, *back])}">{name}</polygon>')
        floor = top
    times = [(x / 4, span(seconds * x / 4)) for x in range(5)]
    return _frame("".join(parts), marks, times, title)


def columns(layers: Sequence[Layer], labels: Sequence[str], title: str) -> str:
    """Draw layers on top of one another as columns.

    Args:
        layers: from the bottom to the top; of the length of `labels` each.
        labels: the name of each column's right edge.
        title: what is to be seen, for who cannot see it.
    """
    if not labels:
        return ""
    marks = ticks(max(sum(layer.values[at] for layer in layers) for at in range(len(labels))))
    wide = (WIDTH - _LEFT - _RIGHT) / len(labels)
    parts = []
    for at, name in enumerate(labels):
        low = 0.0
        for layer in layers:
            value = layer.values[at]
            if value:
                y, bottom = _y(low + value, marks[-1]), _y(low, marks[-1])
                told = f"<title>{escape(layer.label)}, up to {escape(name)}: {value:g}</title>"
                parts.append(
                    f'<rect class="{layer.kind}" x="{_LEFT + at * wide + 1:.1f}" y="{y:.1f}" '
                    f'width="{max(1.0, wide - 2):.1f}" height="{bottom - y:.1f}">{told}</rect>'
                )
                low += value
    every = max(1, len(labels) // 8)
    shown = [((at + 1) / len(labels), name) for at, name in enumerate(labels) if (at + 1) % every == 0]
    return _frame("".join(parts), marks, shown, title)


def _frame(inner: str, marks: Sequence[float], below: Sequence[tuple[float, str]], title: str) -> str:
    """Put axes round a plot: `marks` at the left, and texts below at places from 0 to 1."""
    parts = []
    for mark in marks:
        y = _y(mark, marks[-1])
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="left" x="{_LEFT - 6}" y="{y + 4:.1f}">{_number(mark)}</text>'
        )
    for place, text in below:
        x = _LEFT + place * (WIDTH - _LEFT - _RIGHT)
        kind = "first" if place == 0 else "last" if place == 1 else "below"
        parts.append(f'<text class="{kind}" x="{x:.1f}" y="{HEIGHT - 8}">{escape(text)}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(title)}">{"".join(parts)}{inner}</svg>'
    )


def _point(at: int, bins: int, value: float, most: float) -> str:
    x = _LEFT + (WIDTH - _LEFT - _RIGHT) * (at / (bins - 1) if bins > 1 else 0.0)
    return f"{x:.1f},{_y(value, most):.1f}"


def _y(value: float, most: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * value / most


def _number(value: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"
