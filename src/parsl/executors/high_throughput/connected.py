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
    """

    def __init__(self) -> None:
        self.managers: dict[str, ManagerView] = {}
        self.blocks: dict[str, set[str]] = {}
        self.seen: set[str] = set()
        self.leaving: set[str] = set()

    def update(self, news: Managers) -> tuple[bool, bool]:
        """Take in news.

        Returns:
            Whether a block has come, gone, or begun to leave; and whether one has gone.
        """
        touched = {view.block_id for view in news.managers}
        touched |= {self.managers[name].block_id for name in news.gone if name in self.managers}
        before = [(block in self.blocks, block in self.leaving) for block in touched]
        for view in news.managers:
            self.managers[view.manager] = view
            self.seen.add(view.block_id)
            self.blocks.setdefault(view.block_id, set()).add(view.manager)
        for name in news.gone:
            gone = self.managers.pop(name, None)
            if gone is not None:
                self._remove(name, gone.block_id)
        for block in touched:
            members = self.blocks.get(block, ())
            leaves = bool(members) and all(self.managers[m].draining for m in members)
            (self.leaving.add if leaves else self.leaving.discard)(block)
        after = [(block in self.blocks, block in self.leaving) for block in touched]
        return before != after, any(b[0] and not a[0] for b, a in zip(before, after, strict=True))

    def _remove(self, name: str, block: str) -> None:
        members = self.blocks[block]
        members.discard(name)
        if not members:
            del self.blocks[block]
