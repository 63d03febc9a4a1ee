"""Where the manager of a block of MPI tasks runs: the block's nodes, whose mpiexec is on PATH; the pool for both."""

from __future__ import annotations

import itertools
import logging
import re
import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from parsl.executors.high_throughput.messages import Payload
from parsl.executors.high_throughput.mpi_prefix_composer import LAUNCHERS, Ranks, compose_environment
from parsl.executors.high_throughput.mpi_resource_management import MPIHands, MPIPool
from parsl.executors.high_throughput.segments import SegmentStore

logger = logging.getLogger(__name__)

# The largest machines have some ten thousand nodes; what is beyond is no list of nodes.
_MOST_NODES = 1_000_000

_VERSION_SECONDS = 20.0

# Longer variables go into the store: a message to a worker has room for these beside its arguments.
_INLINE_BYTES = 8 * 1024


def block_nodes(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the nodes of the block that this process runs in, each once, in the scheduler's order.

    Args:
        environment: the variables in which the scheduler tells them.

    Raises:
        OSError: when a file of nodes cannot be read.
        ValueError: when no scheduler has told of any nodes, or in a form that is not known.
    """
    for name, read in _SOURCES.items():
        told = environment.get(name, "").strip()
        if not told:
            continue
        nodes = list(dict.fromkeys(read(told)))
        if not nodes:
            msg = f"{name}={told} names no node"
            raise ValueError(msg)
        logger.info("The block's nodes, by %s: %s", name, ", ".join(nodes))
        return nodes
    msg = (
        f"the nodes of this block are not known: none of {', '.join(_SOURCES)} is set. Without a scheduler, write the "
        "names of the nodes to a file, one a line, and set PBS_NODEFILE to its path in the provider's worker_init"
    )
    raise ValueError(msg)


def _first_words(path: str) -> Iterable[str]:
    """Read a file of a node a line, which it may name once for each of its slots, and more behind its name."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _words(text: str) -> Iterable[str]:
    return text.split()


def _every_other_word(text: str) -> Iterable[str]:
    return text.split()[::2]


def expand_hostlist(text: str) -> list[str]:
    """Return the names that a list in Slurm's form stands for, in their order: `n[01-02,7]` for n01, n02 and n7.

    Raises:
        ValueError: when the text is not of that form.
    """
    return [name for part in _parts(text) for name in _expand(part)]


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for character in text.strip():
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth != 0 or not all(parts):
        msg = f"{text!r} is no list of nodes"
        raise ValueError(msg)
    return parts


def _expand(part: str) -> list[str]:
    opening = part.find("[")
    if opening < 0:
        return [part]
    closing = _closing(part, opening)
    inner = [name for p in _parts(part[opening + 1 : closing]) for name in _range(p)]
    rests = _expand(part[closing + 1 :]) if closing + 1 < len(part) else [""]
    if len(inner) * len(rests) > _MOST_NODES:
        msg = f"{part!r} stands for more than {_MOST_NODES} nodes"
        raise ValueError(msg)
    return [f"{part[:opening]}{name}{rest}" for name, rest in itertools.product(inner, rests)]


def _closing(part: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(part)):
        depth += {"[": 1, "]": -1}.get(part[at], 0)
        if depth == 0:
            return at
    raise AssertionError(part)  # _parts has seen to the balance


def _range(text: str) -> list[str]:
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if not found:
        return _expand(text)
    first, last = found.groups()
    if not 0 <= int(last) - int(first) < _MOST_NODES:
        msg = f"{text!r} is no range of nodes"
        raise ValueError(msg)
    # As wide as the first: 08-11 has 08 and 10.
    return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]


# In the order in which they are looked for. The first may be set by hand.
_SOURCES: dict[str, Callable[[str], Iterable[str]]] = {
    "PBS_NODEFILE": _first_words,
    "COBALT_NODEFILE": _first_words,
    "SLURM_JOB_NODELIST": expand_hostlist,
    "SLURM_NODELIST": expand_hostlist,
    "LSB_DJOB_HOSTFILE": _first_words,
    "LSB_HOSTS": _words,
    "LSB_MCPU_HOSTS": _every_other_word,
    "PE_HOSTFILE": _first_words,
}


def mpiexec_is_open_mpi() -> bool:
    """Ask the mpiexec on PATH for its version, and tell whether it is Open MPI's.

    What cannot be asked is taken for MPICH's or one of its kin, which most machines have.
    """
    try:
        asked = subprocess.run(
            ["mpiexec", "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        logger.warning("mpiexec does not tell its version, and is taken for one with -ppn and -hosts: %s", e)
        return False
    found = re.search(r"open.?mpi|openrte|prrte", asked.stdout + asked.stderr, re.IGNORECASE) is not None
    logger.info("mpiexec is %s", "Open MPI's" if found else "of MPICH's kind")
    return found


def make_pool(
    hands: MPIHands, slots: Iterable[int], options: Namespace, hostname: str, nodes: Sequence[str], store: SegmentStore
) -> MPIPool:
    """Make the pool of this block.

    Args:
        hands: what carries out the pool's decisions.
        slots: numbers of the workers.
        options: the manager's command line.
        hostname: the manager's node.
        nodes: names of the block's nodes.
        store: where variables of a task go that are too long for its message, with many nodes.

    Raises:
        ValueError: when the command line names a launcher that is not known.
    """
    launcher = options.mpi_launcher or "mpiexec"
    if launcher not in LAUNCHERS:
        msg = f"--mpi-launcher must be one of {', '.join(LAUNCHERS)}, but is {launcher!r}"
        raise ValueError(msg)
    open_mpi = mpiexec_is_open_mpi()

    def environment(ranks: Ranks, given: Sequence[str]) -> Payload:
        packed = msgspec.msgpack.encode(compose_environment(launcher, ranks, given, open_mpi))
        return Payload(packed) if len(packed) <= _INLINE_BYTES else store.payload(b"", [packed])

    return MPIPool(hands, slots, options.prefetch_capacity, hostname, nodes, environment)
