"""No logs."""

from __future__ import annotations

from collections.abc import Callable

from parsl.logconfigs.base import LogConfig


class NoopLogging(LogConfig):
    """Keeps nothing and touches nothing; for programs that set up `logging` themselves."""

    def initialize_logging(self, log_dir: str, log_name: str) -> Callable[[], None]:
        """Do nothing."""
        return _nothing


def _nothing() -> None:
    pass
