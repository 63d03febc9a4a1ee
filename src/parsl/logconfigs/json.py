"""Logs as JSON, for programs to read."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any

from parsl.log_utils import attach_handler
from parsl.logconfigs.base import LogConfig

_KEPT = ("created", "levelname", "name", "process", "processName", "thread", "threadName", "funcName", "lineno")
_EXTRA_PREFIX = "parsl."
_text = logging.Formatter()


class JSONLogging(LogConfig):
    """Keeps logs as JSON, an object a line, in `<log_dir>/<log_name>.jsonlog`; see `JSONHandler` for what is in it.

    Args:
        level: The lowest level kept, as in `logging`.
    """

    def __init__(self, level: int = logging.DEBUG) -> None:
        self.level = level

    def initialize_logging(self, log_dir: str, log_name: str) -> Callable[[], None]:
        """Begin to append the records of the `parsl` logger to the file; see `LogConfig`."""
        os.makedirs(log_dir, exist_ok=True)
        return attach_handler("parsl", JSONHandler(os.path.join(log_dir, f"{log_name}.jsonlog"), self.level))


class JSONHandler(logging.Handler):
    """Appends log records to a file, one JSON object a line.

    An object has the formatted message as `msg`; `created`, `levelname`, `name`, `process`, `processName`, `thread`,
    `threadName`, `funcName` and `lineno` as in `logging`; the traceback as `exc_info` if there is one; and each extra
    attribute of the record whose name begins with "parsl.". What JSON can't express is written as its `str`.

    Args:
        filename: The file; its folder has to exist.
        args: For `logging.Handler`: the lowest level written.
        kwargs: For `logging.Handler`.

    Raises:
        OSError: The file can't be opened.
    """

    def __init__(self, filename: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file = open(filename, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._file.write(_line(record))
            self._file.flush()
        except Exception:  # noqa: BLE001 - the way of `logging`: trouble with a record is no trouble of its author's
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        self.acquire()
        try:
            self._file.close()
            super().close()
        finally:
            self.release()


def _line(record: logging.LogRecord) -> str:
    fields: dict[str, object] = {"msg": record.getMessage()}
    fields.update((name, getattr(record, name)) for name in _KEPT)
    if record.exc_info:
        fields["exc_info"] = _text.formatException(record.exc_info)
    fields.update((name, value) for name, value in vars(record).items() if name.startswith(_EXTRA_PREFIX))
    try:
        return json.dumps(fields, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError):
        return json.dumps({name: _expressible(value) for name, value in fields.items()}) + "\n"


def _expressible(value: object) -> object:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value
