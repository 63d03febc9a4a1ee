"""Where the nodes of a graph are drawn: in layers from left to right, each behind all that it waits for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

# So often the order within layers is improved; the picture hardly changes after that.
_SWEEPS = 6

# Nodes without edges stand in rows of so many below the rest.
_ROW = 16


def positions(nodes: Sequence[K], edges: Iterable[tuple[K, K]]) -> dict[K, tuple[float, float]]:
    """Place nodes so that edges lead to the right and cross seldom.

    Args:
        nodes: all nodes, in the order in which they are placed where nothing else tells.
        edges: pairs of nodes, before and after. Edges of a circle may lead to the left; those from a node to itself do
            not count.

    Returns:
        For each node its column, and its row counted downwards, with 0 in the middle of the graph.
    """
    before: dict[K, set[K]] = {node: set() for node in nodes}
    after: dict[K, set[K]] = {node: set() for node in nodes}
    for first, then in edges:
        if first != then:
            before[then].add(first)
            after[first].add(then)
    linked = [node for node in nodes if before[node] or after[node]]
    layers = _ordered(_layers(linked, before, after), before, after)
    found: dict[K, tuple[float, float]] = {}
    most = max(map(len, layers), default=0)
    for column, layer in enumerate(layers):
        # A layer of few nodes is spread over the height of the others.
        apart = most / len(layer)
        for row, node in enumerate(layer):
            found[node] = (float(column), (row - (len(layer) - 1) / 2) * apart)
    lowest = max((row for _, row in found.values()), default=-1.5)
    alone = [node for node in nodes if node not in found]
    for number, node in enumerate(alone):
        found[node] = (float(number % _ROW), lowest + 1.5 + number // _ROW)
    return found


def _layers(nodes: Sequence[K], before: dict[K, set[K]], after: dict[K, set[K]]) -> list[list[K]]:
    """Put each node into the layer behind the last one of those that it waits for."""
    waiting = {node: len(before[node]) for node in nodes}
    depth = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not waiting[node]]
    while waiting:
        if not ready:
            # A circle: it is cut where fewest edges come in.
            ready = [min(waiting, key=waiting.__getitem__)]
        node = ready.pop()
        if waiting.pop(node, None) is None:
            continue
        for then in after[node]:
            if then in waiting:
                depth[then] = max(depth[then], depth[node] + 1)
                waiting[then] -= 1
                if not waiting[then]:
                    ready.append(then)
    layers: list[list[K]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in nodes:
        layers[depth[node]].append(node)
    return [layer for layer in layers if layer]


def _ordered(layers: list[list[K]], before: dict[K, set[K]], after: dict[K, set[K]]) -> list[list[K]]:
    """Order each layer by the mean row of what its nodes are linked with, back and forth."""
    row = {node: (number + 0.5) / len(layer) for layer in layers for number, node in enumerate(layer)}
    for sweep in range(_SWEEPS):
        linked = after if sweep % 2 else before
        for layer in reversed(layers) if sweep % 2 else layers:
            mean = {
                node: sum(row[other] for other in linked[node]) / len(linked[node]) if linked[node] else row[node]
                for node in layer
            }
            layer.sort(key=mean.__getitem__)
            for number, node in enumerate(layer):
                row[node] = (number + 0.5) / len(layer)
    return layers
