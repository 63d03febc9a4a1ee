"""What a way to keep logs has to offer, and its use in processes."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from parsl.log_utils import set_folder_logger
from parsl.representation import RepresentationMixin


class LogConfig(RepresentationMixin, ABC):
    """A way to keep logs. Objects are pickled and sent to the other processes of a run, so they hold settings only."""

    @abstractmethod
    def initialize_logging(self, log_dir: str, log_name: str) -> Callable[[], None]:
        """Begin to keep the records of the `parsl` logger of this process.

        Args:
            log_dir: Folder for log files; made if it doesn't exist.
            log_name: Name of the log, without folder and extension.

        Returns:
            A function that undoes this: no more records are kept, and files are closed.
        """


_undo: dict[tuple[int, str, str], tuple[LogConfig | bool, Callable[[], None]]] = {}
_undo_lock = threading.Lock()


def oneshot_initialize_logging(log_config: LogConfig | bool | None, log_dir: str, log_name: str) -> None:
    """Begin to keep logs in this process; a call with the same three arguments again does nothing.

    Args:
        log_config: How: an object, or True for a text file with records of level INFO and higher, or False or None for
            nothing at all.
        log_dir: Folder for log files; made if it doesn't exist.
        log_name: Name of the log, without folder and extension.
    """
    if log_config is None or log_config is False:
        return
    key = (id(log_config), log_dir, log_name)
    with _undo_lock:
        if key not in _undo:
            # The object is kept along with its key: were it freed, another could get the same id.
            _undo[key] = (log_config, initialize_logging(log_config, log_dir, log_name))


def oneshot_uninitialize_logging(log_config: LogConfig | bool | None) -> None:
    """Undo every `oneshot_initialize_logging` with this object; nothing happens when there was none.

    Args:
        log_config: The object that was given then.
    """
    with _undo_lock:
        undos = [_undo.pop(key)[1] for key in list(_undo) if key[0] == id(log_config)]
    for undo in undos:
        undo()


def initialize_logging(log_config: LogConfig | bool | None, log_dir: str, log_name: str) -> Callable[[], None]:
    """Begin to keep logs in this process.

    Args:
        log_config: How, as for `oneshot_initialize_logging`.
        log_dir: Folder for log files; made if it doesn't exist.
        log_name: Name of the log, without folder and extension.

    Returns:
        A function that undoes this call, and no other.
    """
    if log_config is None or log_config is False:
        return lambda: None
    if isinstance(log_config, bool):
        return set_folder_logger(log_dir, log_name, logging.INFO)
    return log_config.initialize_logging(log_dir, log_name)
