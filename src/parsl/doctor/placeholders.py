"""Finding words that an example left for the user to replace, such as YOUR_PARTITION."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from parsl.doctor.findings import Finding, fail
from parsl.representation import constructor_parameters

__all__ = ["check_placeholders", "find_placeholders"]

PLACEHOLDER = re.compile(r"\bYOUR_[A-Z0-9_]+\b")

_HOW_TO_LIST = {
    "partition": "`sinfo` lists the partitions; leave it out for the default one",
    "queue": "`qstat -Q` (PBS), `bqueues` (LSF) or `qconf -sql` (Grid Engine) lists the queues",
    "account": "name who is charged, or leave it out where nobody is",
    "project": "name who is charged, or leave it out where nobody is",
    "image": "name an image with the same Python and parsl as here",
    "image_id": "name a machine image with the same Python and parsl as here",
    "key_name": "name a key pair of the region, from `aws ec2 describe-key-pairs`",
    "address": "name the address of this host that the nodes can connect to",
}


def find_placeholders(thing: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Look through an object's constructor arguments, and through theirs.

    Args:
        thing: An executor, a provider, a launcher; whatever else is in them.
        path: How to get to it, for the result.

    Yields:
        The path of an argument, such as "provider.partition", and the placeholder in it.
    """
    if isinstance(thing, str):
        yield from ((path, match[0]) for match in PLACEHOLDER.finditer(thing))
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from find_placeholders(value, f"{path}[{key!r}]")
    elif isinstance(thing, (list, tuple)):
        for number, value in enumerate(thing):
            yield from find_placeholders(value, f"{path}[{number}]")
    elif type(thing).__module__.partition(".")[0] != "builtins":
        for parameter in constructor_parameters(type(thing)):
            value = getattr(thing, parameter.name, None)
            if parameter.name == "provider":
                value = getattr(thing, "_provider", value)
            yield from find_placeholders(value, f"{path}.{parameter.name}".lstrip("."))


def check_placeholders(thing: Any) -> Iterator[Finding]:
    """Say of each placeholder that it still stands.

    Args:
        thing: An executor, with all that it runs on.
    """
    for path, word in find_placeholders(thing):
        name = path.rpartition(".")[2]
        remedy = _HOW_TO_LIST.get(name, f"put the real one there, or leave {name} out if it is not needed")
        yield fail("placeholder", f"{path}: {word} still stands here", remedy=remedy)
