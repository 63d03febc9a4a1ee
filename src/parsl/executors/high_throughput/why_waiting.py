"""Why a call of the pilot waits, in words: what its interchange says of it, and what is known of blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from parsl.dataflow.explanations import Cause, Reason, ordinal, plural, span

if TYPE_CHECKING:
    from parsl.executors.base import Call
    from parsl.executors.high_throughput.client import InterchangeClient
    from parsl.executors.high_throughput.executor import HighThroughputExecutor

# A manager that has been silent for longer than so many heartbeats is mentioned.
_SILENT_HEARTBEATS = 2

# So many nodes of a task are named.
_SHOWN_NODES = 4


def ask(
    executor: HighThroughputExecutor,
    client: InterchangeClient | None,
    call: Call,
    answer: Callable[[Cause], object],
) -> None:
    """Find out why a call waits and tell `answer`, once; on the loop."""
    label, number = executor.label, call.executor_id
    if executor.executor_exception is not None:
        trouble = f"can run no more tasks: {executor.executor_exception}"
        answer(Cause(Reason.NO_WORKERS, f"is about to fail, since executor {label} {trouble}"))
    elif client is None or number is None or number not in client.calls:
        answer(Cause(Reason.RUNNING, f"has ended on executor {label}, which is about to say so"))
    else:
        client.locate(number, lambda facts: answer(in_words(executor, facts)), nodes=executor.enable_mpi_mode)


def in_words(executor: HighThroughputExecutor, facts: Any) -> Cause:
    """Put into words what the interchange says of a call; see `whereabouts.find`."""
    label = executor.label
    if not isinstance(facts, Mapping):
        return Cause(Reason.UNKNOWN, f"is with executor {label}, whose interchange has ended")
    if "held" in facts:
        before = f"{facts['held'] / 2**20:.0f} MB of others are on their way"
        return Cause(Reason.SENDING, f"waits to be sent to executor {label}: {before}", facts=dict(facts))
    if "manager" in facts:
        return _with_manager(executor, facts)
    if "position" in facts:
        return _in_queue(executor, facts)
    return Cause(Reason.RUNNING, f"has ended on executor {label}, and the word of that is on its way")


def _with_manager(executor: HighThroughputExecutor, facts: Mapping[str, Any]) -> Cause:
    tasks, workers = facts["tasks"], facts["workers"]
    where = f"{facts['hostname']}, in block {facts['block']} of executor {executor.label}"
    details: list[str] = []
    reason = Reason.RUNNING
    if executor.enable_mpi_mode:
        reason, text, details = _among_nodes(where, facts.get("pool") or {})
    elif tasks <= workers:
        text = f"is running on {where}"
    else:
        text = f"runs or is next on {where}, whose {plural(workers, 'worker')} have {tasks} tasks"
    if facts["silent"] > _SILENT_HEARTBEATS * executor.heartbeat_period:
        limit = span(executor.heartbeat_threshold)
        silent = span(facts["silent"])
        details.append(f"Nothing has been heard of that node for {silent}; after {limit} it is given up.")
    return Cause(reason, text, details, dict(facts))


def _among_nodes(where: str, pool: Mapping[str, Any]) -> tuple[Reason, str, list[str]]:
    """Put into words what the manager of a block of MPI tasks says of one; see `NodeLedger.account`."""
    if "got" in pool:
        got = pool["got"]
        shown = ", ".join(got[:_SHOWN_NODES]) + (
            f" and {len(got) - _SHOWN_NODES} more" if len(got) > _SHOWN_NODES else ""
        )
        return Reason.RUNNING, f"is running with the manager on {where}, on {plural(len(got), 'node')}: {shown}", []
    if "needs" not in pool:
        return (
            Reason.RUNNING,
            f"is with the manager on {where}, and runs as soon as its nodes of the block are free",
            [],
        )
    free, ahead = pool["free"], pool["ahead"]
    text = (
        f"waits for {plural(pool['needs'], 'node')} with the manager on {where}: "
        f"{free} of {pool['nodes']} {'is' if free == 1 else 'are'} free"
    )
    if ahead:
        before = "1 task is" if ahead == 1 else f"{ahead} tasks are"
        text += f", and {before} ahead of it, for {plural(pool['ahead_nodes'], 'node')}"
    else:
        text += ", and it is the next"
    details = []
    if pool["running"] >= pool["most"]:
        details.append(f"{plural(pool['running'], 'task')} of the block run, and no more may at once.")
    if pool["kept"]:
        details.append("A task ahead has been passed over so often that each node that gets free is kept for it.")
    elif pool["passed"]:
        details.append(
            f"Later tasks have been given {plural(pool['passed'], 'node')} meanwhile, which it could not use."
        )
    return Reason.QUEUED, text, details


def _in_queue(executor: HighThroughputExecutor, facts: Mapping[str, Any]) -> Cause:
    place = f"is {ordinal(facts['position'])} of {facts['length']} in the queue of executor {executor.label}"
    details = []
    resources = {k: v for k, v in (facts["resources"] or {}).items() if k != "walltime"}
    if resources:
        details.append(f"It asks for {', '.join(f'{k}={v}' for k, v in resources.items())}.")
    reason, text = Reason.QUEUED, f"{place}; workers that are busy: {facts['busy']} of {facts['workers']}"
    seconds, longest = facts["seconds"], facts["longest"]
    if not facts["managers"]:
        reason, text = Reason.NO_WORKERS, f"{place}, and no worker is connected"
    elif seconds is not None and longest is not None and seconds > longest:
        reason = Reason.NO_ROOM
        text = f"{place}: it declares {span(seconds)}, and no block that is there lasts longer than {span(longest)}"
    if facts["closed"]:
        details.append(f"{plural(facts['closed'], 'node')} on the way out take no more tasks.")
    return Cause(reason, text, [*details, *executor.block_account()], dict(facts))
