"""What is installed on a node."""

from __future__ import annotations

import logging

import msgspec

from parsl.version import VERSION

logger = logging.getLogger(__name__)


def installed_packages() -> dict[str, str]:
    """Return the versions of the packages on which what is sent between the hosts depends."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"parsl": VERSION, "msgspec": msgspec.__version__}
    for name in ("cloudpickle", "dill"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            logger.debug("%s is not installed here", name)
    return found
