"""The functions that a node has been sent, as files that all its workers read."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterable, Mapping

logger = logging.getLogger(__name__)


class FunctionFiles:
    """Keeps the packed bodies of functions, each in a file that is named by the function's number.

    Args:
        prefix: path of the files, up to the number.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._numbers: set[int] = set()

    def keep(self, bodies: Mapping[int, bytes]) -> None:
        """Write what is not there. A body that cannot be written is missed by the workers, in each of its calls."""
        for number, body in bodies.items():
            # One that is there was sent by the interchange before this one, and a worker may be reading it.
            if number not in self._numbers:
                self._write(number, body)

    def _write(self, number: int, body: bytes) -> None:
        # Under its final name at once: no worker looks for it before a task names it.
        try:
            with open(f"{self.prefix}{number}", "wb") as file:
                file.write(body)
        except OSError as e:
            logger.error("Function %d cannot be kept: %s", number, e)  # noqa: TRY400 - the text says it all
        self._numbers.add(number)

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove functions."""
        for number in numbers:
            self._numbers.discard(number)
            pathlib.Path(f"{self.prefix}{number}").unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all."""
        self.forget(list(self._numbers))
