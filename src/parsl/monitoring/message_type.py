"""The kinds of messages that radios carry."""

from __future__ import annotations

from enum import Enum


class MessageType(Enum):
    """What a monitoring message tells of. The numbers go over the wire, so they never change."""

    RESOURCE_INFO = 0
    """What one try at a task uses."""

    TASK_INFO = 1
    """A task has moved from one state to another."""

    WORKFLOW_INFO = 2
    """A run has begun or ended."""

    NODE_INFO = 3
    """A node has come, changed or gone."""

    BLOCK_INFO = 4
    """A block has changed its state."""
