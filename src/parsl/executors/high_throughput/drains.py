"""Which blocks are being emptied: a part of the `Broker`, as plain as that."""

from __future__ import annotations

from collections.abc import Iterable


class Drains:
    """Blocks that get no further task, and which managers of each have not ended their last one.

    A block stays in here for good, so a manager that registers late, of a block that is about to be cancelled, gets
    nothing.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, set[bytes]] = {}
        self._block_of: dict[bytes, str] = {}
        self._emptied: list[str] = []

    def __contains__(self, block: str) -> bool:
        """Tell whether a block is, or was, to be emptied."""
        return block in self._blocks

    def begin(self, block: str, managers: Iterable[bytes]) -> None:
        """Empty a block; said again, it is answered again.

        Args:
            block: the block.
            managers: identities of its managers that have not left.
        """
        members = self._blocks[block] = set(managers)
        self._block_of.update(dict.fromkeys(members, block))
        if not members:
            self._emptied.append(block)

    def left(self, managers: Iterable[bytes]) -> None:
        """Note that managers are gone, emptied or lost; those of other blocks are none of its business."""
        if not self._block_of:
            return
        for manager in managers:
            block = self._block_of.pop(manager, None)
            if block is None:
                continue
            self._blocks[block].discard(manager)
            if not self._blocks[block]:
                self._emptied.append(block)

    def joined(self, manager: bytes, block: str) -> None:
        """Note that a manager is of a block now: if it was of another before, that one has it no more."""
        if self._block_of.get(manager, block) != block:
            self.left([manager])

    def take_emptied(self) -> list[str]:
        """Return the blocks emptied since the last call."""
        emptied, self._emptied = self._emptied, []
        return emptied
