"""How much a usage report tells."""

from __future__ import annotations

from parsl.errors import ConfigurationError

DISABLED = 0
"""Nothing is reported."""
LEVEL_1 = 1
"""At the start: versions of this package and of Python, and the platform."""
LEVEL_2 = 2
"""Also which executors, providers and the like are used."""
LEVEL_3 = 3
"""Also, at the end: numbers of tasks and blocks, and how long it took."""


def validate_level(level: int) -> int:
    """Check a level of usage tracking.

    Args:
        level: What the user gave.

    Returns:
        It as a number; False is 0 and True is 1.

    Raises:
        ConfigurationError: There is no such level.
    """
    if not isinstance(level, int) or not DISABLED <= level <= LEVEL_3:
        raise ConfigurationError(f"usage_tracking takes False, True, or a level 0, 1, 2 or 3, but got {level!r}")
    return int(level)
