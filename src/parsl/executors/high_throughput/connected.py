"""What the client knows of managers and their blocks: a table that the interchange's news keep."""

from __future__ import annotations

from parsl.executors.high_throughput.messages import Managers, ManagerView


class Connected:
    """The managers that are connected, and which blocks that makes.

    Changed on the loop; other threads may look things up in its attributes.

    Attributes:
        managers: what is known of each, by identity.
        blocks: connected blocks, with the identities of their managers.
        seen: all blocks that have ever connected.
        leaving: connected blocks all whose managers are on their way out, and take no task.
        workers: how many workers a node has: as the first of those that are connected said, or that were. One number,
            for what follows from it is not to change whenever another node comes.
    """

    def __init__(self) -> None:
        self.managers: dict[str, ManagerView] = {}
        self.blocks: dict[str, set[str]] = {}
        self.seen: set[str] = set()
        self.leaving: set[str] = set()
        self.workers: int | None = None
        # Managers of each block that are not on their way out.
        self._staying: dict[str, int] = {}

    def update(self, news: Managers) -> tuple[bool, bool]:
        """Take in news.

        Returns:
            Whether a block has come, gone, or begun to leave; and whether one has gone.
        """
        touched = {view.block_id for view in news.managers}
        known = [view.manager for view in news.managers]
        touched |= {self.managers[name].block_id for name in [*known, *news.gone] if name in self.managers}
        before = [(block in self.blocks, block in self.leaving) for block in touched]
        for view in news.managers:
            self._add(view)
        for name in news.gone:
            self._remove(name)
        for block in touched:
            leaves = block in self.blocks and not self._staying[block]
            (self.leaving.add if leaves else self.leaving.discard)(block)
        after = [(block in self.blocks, block in self.leaving) for block in touched]
        return before != after, any(b[0] and not a[0] for b, a in zip(before, after, strict=True))

    def _add(self, view: ManagerView) -> None:
        if not self.managers:
            self.workers = view.worker_count
        name, block = view.manager, view.block_id
        old = self.managers.get(name)
        if old is not None and old.block_id != block:
            self._remove(name)
            old = None
        self.managers[name] = view
        self.seen.add(block)
        self.blocks.setdefault(block, set()).add(name)
        stayed = old is not None and not old.draining
        self._staying[block] = self._staying.get(block, 0) + (not view.draining) - stayed

    def _remove(self, name: str) -> None:
        view = self.managers.pop(name, None)
        if view is None:
            return
        members = self.blocks[view.block_id]
        members.discard(name)
        self._staying[view.block_id] -= not view.draining
        if not members:
            del self.blocks[view.block_id], self._staying[view.block_id]
