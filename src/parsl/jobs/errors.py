"""What can be wrong with the blocks of an executor as a whole."""

from __future__ import annotations

from parsl.errors import ParslError


class TooManyJobFailuresError(ParslError):
    """So many blocks failed that the executor stops asking for new ones."""
