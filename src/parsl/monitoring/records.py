"""What the kernel's process tells the database's: records, the small tuples that the journal holds.

A record is a tuple that begins with its kind. Which task and try it is of comes next, the rest is named beside each
kind below. Times are seconds since the epoch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

Record: TypeAlias = tuple[Any, ...]

# (BEGAN, facts): a dict of columns of the run
BEGAN = 0
# (SUBMITTED, task, at, app, executor, when it was launched or None, more or None); see MORE
SUBMITTED = 1
# (LAUNCHED, task, try, at, executor, inputs)
LAUNCHED = 2
# (ENDED, task, try, at, state, fail_count, fail_cost, hashsum, app, seconds since the launch or None, usage, executor)
ENDED = 3
# (MOVED, task, try, at, state, error, joins, usage, app, executor, seconds since the launch or None)
MOVED = 4
# (FAILED, task, try, kind, message, traceback)
FAILED = 5
# (SAMPLED, task, try, usage): what it has used so far
SAMPLED = 6
# (NODE, facts), with a dict of the columns of its row
NODE = 7
# (BLOCK, facts), the same
BLOCK = 8
# (FILE, task, direction, name, url, local_path), one for each file
FILE = 9
# (COMPLETED, at), of the run
COMPLETED = 10
# (RAN, task, app, executor, submitted at, launched at, ended at, state, usage): a task that went straight through
RAN = 11
# (WAITS, task, at, reason, text, details): what the kernel says of a task that waits for long; details a list of texts
WAITS = 12
# (EDGES, app, whether it waits as a join app, {app: number}): a task of an app waits for so many tasks of others
EDGES = 13

# What only some tasks have, in this order; None for what this one has not.
MORE = ("memoize", "is_join", "depends", "inputs", "outputs", "stdin", "stdout", "stderr")

INPUT, OUTPUT = 0, 1


class Usage(NamedTuple):
    """What one try at a task has used so far, over its whole process tree.

    Attributes:
        at: when this was seen.
        started: when the worker began the try; None when it is not known.
        ended: when the worker was through; None while it runs.
        block: the block it ran in, and `hostname` the node.
        pid: the worker's process id.
        user: seconds of CPU in user mode, and `system` in the kernel, of the process, its children, and those of its
            children that have ended.
        resident: bytes of memory in use, and `virtual` bytes of address space.
        memory_percent: share of the node's memory, 0 to 100.
        children: how many processes the worker has started that are alive.
        read: bytes read, and `written` bytes written.
        voluntary: context switches that were asked for, and `involuntary` those that were not.
        cpu: number of the core that it last ran on; None when it is not known.
        status: the process's state, as psutil names it.
        gpu_percent: how busy the GPUs that it uses are, 0 to 100, and `gpu_memory` its bytes there; None for no GPU.
    """

    at: float
    started: float | None = None
    ended: float | None = None
    block: str | None = None
    hostname: str | None = None
    pid: int | None = None
    user: float = 0.0
    system: float = 0.0
    resident: int = 0
    virtual: int = 0
    memory_percent: float = 0.0
    children: int = 0
    read: int = 0
    written: int = 0
    voluntary: int = 0
    involuntary: int = 0
    cpu: int | None = None
    status: str | None = None
    gpu_percent: float | None = None
    gpu_memory: int | None = None


# The usage of a short try: when it began, when it ended, its CPU seconds; and behind that, packed, the facts of its
# worker that change little (see `WorkerFacts`).
SHORT = struct.Struct("<cddd")
_SHORT, _FULL = b"s", b"f"


class WorkerFacts(NamedTuple):
    """What short tries of one worker have in common; fields as in `Usage`."""

    block: str | None
    hostname: str | None
    pid: int | None
    resident: int
    virtual: int
    memory_percent: float


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode = msgspec.msgpack.Decoder().decode


# The head of a list of so many packed objects, as msgpack has it; and the sizes of the shorter heads of its packer.
_LIST_HEAD = struct.Struct(">BI")
_LIST = 0xDD
_TINY_LIST, _SHORT_LIST = 16, 2**16


class Batch:
    """Records, packed one behind the other: no object of theirs stays.

    Args:
        records: all of them; packed in one go, since a call for each costs more than the packing. What cannot be
            written as UTF-8 in their texts, as in odd names of files, is escaped.
    """

    __slots__ = ("count", "data")

    def __init__(self, records: Sequence[Record]) -> None:
        self.count = count = len(records)
        try:
            packed = encode(records)
        except UnicodeEncodeError:
            packed = encode(_escaped(records))
        head = 1 if count < _TINY_LIST else 3 if count < _SHORT_LIST else _LIST_HEAD.size
        self.data = packed[head:]


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, (tuple, list)):
        return [_escaped(v) for v in value]
    if isinstance(value, dict):
        return {_escaped(k): _escaped(v) for k, v in value.items()}
    return value


def join(batches: Iterable[Batch]) -> bytes:
    """Return one packed list of the records of all batches."""
    batches = list(batches)
    head = _LIST_HEAD.pack(_LIST, sum(b.count for b in batches))
    return b"".join([head, *(b.data for b in batches)])


def encode_usage(usage: Usage) -> bytes:
    """Pack a usage; nobody on its way to the database opens it."""
    return _FULL + encode(tuple(usage))


def encode_short(started: float, ended: float, cpu: float, facts: bytes) -> bytes:
    """Pack the usage of a short try; `facts` is an encoded `WorkerFacts`."""
    return SHORT.pack(_SHORT, started, ended, cpu) + facts


def decode_short(data: bytes) -> tuple[float, float, float, bytes] | None:
    """Read the packed usage of a short try: beginning, end, CPU seconds, facts of the worker; None for a full one."""
    if data[:1] != _SHORT:
        return None
    _, started, ended, cpu = SHORT.unpack_from(data)
    return started, ended, cpu, data[SHORT.size :]


def decode_usage(data: bytes) -> Usage:
    """Read a packed usage that is not of a short try.

    Raises:
        msgspec.DecodeError: when it is none.
    """
    fields = decode(data[1:])
    if not isinstance(fields, list) or not 0 < len(fields) <= len(Usage._fields):
        raise msgspec.DecodeError(f"{fields!r:.80} is no usage of resources")
    return Usage(*fields)
