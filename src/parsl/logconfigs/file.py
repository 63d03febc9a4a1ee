"""Logs as text files."""

from __future__ import annotations

import logging
from collections.abc import Callable

from parsl.log_utils import FILE_FORMAT, set_folder_logger
from parsl.logconfigs.base import LogConfig


class FileLogging(LogConfig):
    """Keeps logs as text, a record a line, in `<log_dir>/<log_name>.log`.

    Args:
        format_string: Format of a line, as in `logging`. By default a line begins with the time in seconds since 1970.
        level: The lowest level kept, as in `logging`.
    """

    def __init__(self, format_string: str = FILE_FORMAT, level: int = logging.DEBUG) -> None:
        self.format_string = format_string
        self.level = level

    def initialize_logging(self, log_dir: str, log_name: str) -> Callable[[], None]:
        """Begin to append the records of the `parsl` logger to the file; see `LogConfig`."""
        return set_folder_logger(log_dir, log_name, self.level, self.format_string)
