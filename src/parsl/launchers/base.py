"""The contract of a launcher."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

from parsl.representation import RepresentationMixin


class Launcher(RepresentationMixin, metaclass=ABCMeta):
    """Turns a command for one worker pool into the part of a block's script that starts it on all of the block.

    A launcher only writes text; it is run by bash on the first node of the block, after the provider's `worker_init`.
    Any callable of the same signature will do in place of a Launcher.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
    """

    def __init__(self, debug: bool = True) -> None:
        self.debug = debug

    @abstractmethod
    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        """Write the script.

        Args:
            command: Bash text: what to start.
            tasks_per_node: How many copies of it on each node, at least 1.
            nodes_per_block: On how many nodes, at least 1.

        Returns:
            Bash text, whose exit code becomes that of the block.
        """
