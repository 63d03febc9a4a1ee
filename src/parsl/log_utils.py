"""Handlers put on a logger, and taken off again without a trace."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TextIO

STREAM_FORMAT = "%(asctime)s %(name)s:%(lineno)d [%(levelname)s]  %(message)s"
FILE_FORMAT = (
    "%(created)f %(asctime)s %(processName)s-%(process)d %(threadName)s-%(thread)d "
    "%(name)s:%(lineno)d %(funcName)s %(levelname)s: %(message)s"
)


class _LoggerLevel:
    """The level of one logger while handlers of ours are on it.

    Several kernels may log through one logger, and end in any order; each needs the level that lets its records pass.

    Args:
        logger: The logger.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger
        self.wanted: list[int] = []
        self.own = self.applied = logger.level

    def add(self, level: int) -> None:
        """Lower the level of the logger as far as a new handler needs."""
        self.wanted.append(level)
        self._apply()

    def remove(self, level: int) -> None:
        """Take back what a handler needed."""
        self.wanted.remove(level)
        self._apply()

    def _apply(self) -> None:
        if self.logger.level != self.applied:  # somebody else set it meanwhile: that is its own level from now on
            self.own = self.logger.level
        self.applied = self.own
        if self.wanted:
            parent = self.logger.parent
            without_us = self.own or (parent.getEffectiveLevel() if parent else logging.NOTSET)
            # Level 0 on a logger would mean "as the parent", not "everything".
            self.applied = max(1, min(without_us, *self.wanted))
        self.logger.setLevel(self.applied)


_levels: dict[str, _LoggerLevel] = {}
_levels_lock = threading.Lock()


def attach_handler(name: str, handler: logging.Handler) -> Callable[[], None]:
    """Put a handler on a logger, whose level goes down to the handler's if it is above it.

    Args:
        name: Name of the logger.
        handler: A handler with its level and format set.

    Returns:
        A function that takes the handler off, closes it and restores the level. Calling it again does nothing.
    """
    logger = logging.getLogger(name)
    with _levels_lock:
        _levels.setdefault(name, _LoggerLevel(logger)).add(handler.level)
        logger.addHandler(handler)
    attached = [handler]

    def detach() -> None:
        with _levels_lock:
            if not attached:
                return
            attached.clear()
            logger.removeHandler(handler)
            state = _levels[name]
            state.remove(handler.level)
            if not state.wanted:
                del _levels[name]
        try:
            handler.close()
        except OSError as e:
            # A run does not fail for want of room for its log.
            sys.stderr.write(f"The last lines of the log of {name} are lost: {e}\n")

    return detach


def set_stream_logger(
    name: str = "parsl", level: int = logging.DEBUG, format_string: str | None = None, stream: TextIO | None = None
) -> Callable[[], None]:
    """Write log records to a stream.

    Args:
        name: Name of the logger whose records are written.
        level: The lowest level written, as in `logging`.
        format_string: Format of a line; None for time, logger, level and message.
        stream: Where to write; None for standard error.

    Returns:
        A function that undoes this.
    """
    handler = logging.StreamHandler(stream)
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(format_string or STREAM_FORMAT))
    return attach_handler(name, handler)


def set_file_logger(
    filename: str | os.PathLike[str],
    name: str = "parsl",
    level: int = logging.DEBUG,
    format_string: str | None = None,
) -> Callable[[], None]:
    """Append log records to a file.

    Args:
        filename: The file; its folder has to exist.
        name: Name of the logger whose records are written.
        level: The lowest level written, as in `logging`.
        format_string: Format of a line; None for a long one that begins with the time in seconds since 1970.

    Returns:
        A function that undoes this and closes the file.

    Raises:
        OSError: The file can't be opened.
    """
    handler = logging.FileHandler(filename, encoding="utf-8")
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(format_string or FILE_FORMAT))
    return attach_handler(name, handler)


def set_folder_logger(log_dir: str, log_name: str, level: int, format_string: str | None = None) -> Callable[[], None]:
    """Append the records of the `parsl` logger to `<log_dir>/<log_name>.log`, as `set_file_logger` does.

    Args:
        log_dir: The folder; made if it doesn't exist.
        log_name: Name of the log, without folder and extension.
        level: The lowest level written, as in `logging`.
        format_string: Format of a line, as for `set_file_logger`.

    Returns:
        A function that undoes this and closes the file.

    Raises:
        OSError: The folder can't be made, or the file can't be opened.
    """
    os.makedirs(log_dir, exist_ok=True)
    return set_file_logger(os.path.join(log_dir, f"{log_name}.log"), level=level, format_string=format_string)
