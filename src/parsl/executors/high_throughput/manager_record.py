"""What the interchange knows of one manager."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from parsl.executors.high_throughput.messages import ManagerView, Register

if TYPE_CHECKING:
    from parsl.executors.high_throughput.room import Room


class ManagerRecord:
    """One registered manager; readable also as a mapping, as selectors written for earlier releases do.

    Attributes:
        identity: the manager's address on the interchange's socket.
        about: what it said of itself.
        tasks: numbers of the calls that it has.
        credit: how many calls it wants to have at once.
        functions: numbers of the functions that it has been sent.
        active: whether it may be given calls.
        draining: whether it is on its way out.
        held: whether it is to be given none at the user's wish.
        last_heartbeat: when it was last heard of.
        idle_since: since when it has no call, or None.
        ends_at: when its block is about to end; infinite where that is not known.
        workers: how many calls it can run at once.
        received: number of the last `Results` that came from it; `delivered` of the last that has reached the client.
        room: the room in which it waits for calls, or None when it wants none; `place` and `listed` are the room's own.
    """

    __slots__ = (
        "about",
        "active",
        "credit",
        "delivered",
        "draining",
        "ends_at",
        "functions",
        "held",
        "identity",
        "idle_since",
        "last_heartbeat",
        "listed",
        "place",
        "received",
        "room",
        "tasks",
        "workers",
    )

    def __init__(self, identity: bytes, about: Register, now: float) -> None:
        self.identity = identity
        self.about = about
        self.workers = about.workers
        self.tasks: set[int] = set(about.tasks or ())
        self.credit = about.capacity
        self.functions: set[int] = set()
        self.active = True
        self.draining = self.held = False
        self.last_heartbeat = now
        self.idle_since: float | None = None if self.tasks else now
        self.ends_at = math.inf if about.seconds_left is None else now + about.seconds_left
        self.received = self.delivered = 0
        self.room: Room | None = None
        self.place = 0
        self.listed = 0

    @property
    def free(self) -> int:
        """How many calls it would take now."""
        return self.credit - len(self.tasks) if self.active else 0

    @property
    def block_id(self) -> str:
        """The block that it runs in."""
        return self.about.block_id

    def view(self, now: float) -> ManagerView:
        """Describe the manager to the client."""
        about = self.about
        return ManagerView(
            manager=self.identity.decode(errors="replace"),
            block_id=about.block_id,
            worker_count=about.workers,
            tasks=len(self.tasks),
            idle_duration=0.0 if self.idle_since is None else now - self.idle_since,
            active=self.active,
            draining=self.draining,
            parsl_version=about.parsl_version,
            python_version=about.python_version,
            hostname=about.hostname,
            process_id=about.pid,
            capacity=about.capacity,
            packages=about.packages,
        )

    def __getitem__(self, key: str) -> Any:
        if hasattr(self, key):
            return getattr(self, key)
        if key in ("worker_count", "max_capacity"):
            return self.about.workers if key == "worker_count" else self.credit
        try:
            return getattr(self.about, key)
        except AttributeError:
            raise KeyError(key) from None

    def get(self, key: str, default: Any = None) -> Any:
        """Return an entry, or `default` where there is none of that name."""
        try:
            return self[key]
        except KeyError:
            return default
