"""Where a call is, as its interchange knows it: with a manager, or how far from the head of the queue.

Looked up only when somebody asks; nothing is kept for it on a call's way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.executors.high_throughput.broker import Broker


def find(broker: Broker, number: int, now: float) -> dict[str, Any]:
    """Say where a call is.

    Args:
        broker: the brain of the interchange.
        number: the call's number.
        now: the time, by the broker's clock.

    Returns:
        Facts as plain values. With a manager: `manager`, `hostname`, `block`, `tasks` and `workers` that it has, and
        for how many seconds it has been `silent`. In the queue: `position` from 1 and `length`, `seconds` that the call
        declares or None, its `resources`; of managers that take calls their number as `managers`, with the `workers`
        and the `busy` among them; how many are `closed` to new calls; and for how many seconds the `longest` of them
        lasts, or None for no known end. Nothing for a call that is in neither place: its end is on the way.
    """
    for manager in broker.managers.values():
        if number in manager.tasks:
            return {
                "manager": manager.identity.decode(errors="replace"),
                "hostname": manager.about.hostname,
                "block": manager.block_id,
                "tasks": len(manager.tasks),
                "workers": manager.workers,
                "silent": now - manager.last_heartbeat,
            }
    place = broker.queue.place(number)
    if place is None:
        return {}
    managers = [m for m in broker.managers.values() if m.active]
    longest = max((m.ends_at - now for m in managers), default=0.0)
    return {
        "position": place.position,
        "length": len(broker.queue),
        "seconds": place.seconds,
        "resources": place.resources,
        "managers": len(managers),
        "workers": sum(m.workers for m in managers),
        "busy": sum(min(len(m.tasks), m.workers) for m in managers),
        "closed": len(broker.managers) - len(managers),
        "longest": None if math.isinf(longest) else longest,
    }
