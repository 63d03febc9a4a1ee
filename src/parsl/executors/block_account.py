"""The blocks of an executor in sentences: what there is, what went wrong last, and when there will be more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsl.dataflow.explanations import plural, span
from parsl.jobs.states import JobState

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from parsl.executors.blocks import Block
    from parsl.jobs.backoff import Backoff

# Of so many blocks each is told of; of more only their number.
_EACH = 4

_FAILED = frozenset({JobState.FAILED, JobState.MISSING, JobState.TIMEOUT})


def account(
    provider: str,
    most: int,
    blocks: Sequence[tuple[str, Block]],
    heard: Container[str],
    leaving: Container[str],
    backoff: Backoff,
    now: float,
) -> list[str]:
    """Describe the blocks of an executor.

    Args:
        provider: the name of its provider's class.
        most: how many blocks it may have.
        blocks: all its blocks, with their names, in the order in which they were asked for.
        heard: those of which a worker has ever been heard.
        leaving: those that take no further task.
        backoff: when it may ask for blocks again.
        now: the time, by the clock of blocks and back-off.
    """
    live = [(name, block) for name, block in blocks if block.submitting or block.live]
    lines = [
        _sentence(provider, name, block, now, heard=name in heard, leaves=name in leaving)
        for name, block in live[:_EACH]
    ]
    if len(live) > _EACH:
        lines.append(f"{plural(len(live) - _EACH, 'block')} more are {_states(live[_EACH:])}.")
    if not live:
        lines.append(f"It has no block now, and may have {most} of {provider}.")
    elif len(live) >= most:
        lines.append(f"It may have no more blocks: max_blocks is {most}.")
    failed = next(((n, b) for n, b in reversed(blocks) if b.status.state in _FAILED), None)
    if failed is not None:
        name, block = failed
        words = (block.status.message or "its provider does not say why").strip().rstrip(".")
        lines.append(f"The last block to fail was {_name(name, block)}, {block.status.status_name}: {words}.")
    if backoff.holds(now):
        after = f"After {plural(backoff.failures, 'failure')} the next one is asked for in"
        lines.append(f"{after} {span(backoff.until - now)} at the earliest.")
    return lines


def _name(name: str, block: Block) -> str:
    return f"block {name}" if block.job_id is None else f"block {name} (job {block.job_id})"


def _sentence(provider: str, name: str, block: Block, now: float, *, heard: bool, leaves: bool) -> str:
    asked = span(now - block.since)
    if block.submitting:
        return f"Block {name} was given to {provider} {asked} ago, which has not answered yet."
    words = f"B{_name(name, block)[1:]}, asked for {asked} ago, is {block.status.status_name}"
    if block.status.state is JobState.RUNNING and not block.works and not heard:
        words += ", but none of its workers has been heard of"
    if block.draining is not None or leaves:
        words += ", and on its way out"
    message = (block.status.message or "").strip()
    return f"{words}: {message.rstrip('.')}." if message else f"{words}."


def _states(blocks: list[tuple[str, Block]]) -> str:
    counts: dict[str, int] = {}
    for _, block in blocks:
        name = "being submitted" if block.submitting else block.status.status_name
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items())
