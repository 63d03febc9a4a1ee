"""How long a block lasts, and how long a call says that it takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.executors.base import Call

logger = logging.getLogger(__name__)

# Seconds before the end of a block from which on it is given no call, and by which calls that declare a time have to
# have ended; a tenth of what is left where that is less. Batch systems that send a signal first send it about so long
# before they kill, and what then runs could hardly report its result.
MARGIN = 30.0

# Epoch seconds at which the block ends, the first that is set counts: Slurm's own word, which knows of limits of the
# partition, too; and what the block's script reckons from the provider's walltime.
END_VARIABLES = ("SLURM_JOB_END_TIME", "PARSL_BLOCK_ENDS")


def usable(seconds: float) -> float:
    """Return how much of the time that a block has left can be used for calls."""
    return max(0.0, seconds - min(MARGIN, seconds / 10))


def usable_seconds(environment: Mapping[str, str], now: float) -> float | None:
    """Return for how long the block that this process runs in can be used.

    Args:
        environment: of this process.
        now: epoch seconds, by the clock of this host.

    Returns:
        Seconds, or None where no end is known. An end that has passed is none: the batch system has prolonged the job.
    """
    for name in END_VARIABLES:
        text = environment.get(name, "")
        if text.isdecimal() and int(text) > now:
            return usable(int(text) - now)
        if text:
            logger.warning("%s is %r, which is no time to come, and is not used", name, text)
    return None


def declared(call: Call) -> dict[str, Any]:
    """Return the resource specification of a call, with the limit of the call's time as `walltime`.

    What the specification says counts, then the `walltime` with which an app was called.
    """
    specification = call.resource_specification
    seconds = getattr(call.func, "parsl_walltime", None)
    if seconds is None and "walltime" in call.kwargs:
        seconds = call.kwargs["walltime"]
    if isinstance(seconds, (int, float)) and "walltime" not in specification:
        return {**specification, "walltime": seconds}
    return specification
