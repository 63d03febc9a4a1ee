"""Radios: ways for messages to get from where tasks run to monitoring.

Each has a module with its `RadioConfig`, which an executor is given as `remote_monitoring_radio`. The classes here are
the senders in the forms that release 2024.12 gave them, for code that makes its own.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from parsl.monitoring.radios import filesystem, htex, udp, zmq
from parsl.monitoring.radios.base import MonitoringRadioSender
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadioSender

__all__ = [
    "FilesystemRadioSender",
    "HTEXRadioSender",
    "MonitoringRadioSender",
    "MultiprocessingQueueRadioSender",
    "UDPRadioSender",
    "ZMQRadioSender",
]

# The key of a run, in hexadecimal, for a sender that is only told an address.
KEY_VARIABLE = "PARSL_MONITORING_KEY"


class FilesystemRadioSender(filesystem.FilesystemRadioSender):
    """Writes messages as files in the run folder.

    Args:
        monitoring_url: not used.
        timeout: not used.
        run_dir: the run's folder.
    """

    def __init__(self, *, monitoring_url: str = "", timeout: int = 10, run_dir: str) -> None:
        del monitoring_url, timeout
        super().__init__(run_dir=run_dir)


class HTEXRadioSender(htex.HTEXRadioSender):
    """Sends messages through the worker.

    Args:
        monitoring_url: not used.
        timeout: not used.
    """

    def __init__(self, monitoring_url: str = "", timeout: int = 10) -> None:
        del monitoring_url, timeout


class UDPRadioSender(udp.UDPRadioSender):
    """Sends messages as datagrams, signed with the key in the environment variable PARSL_MONITORING_KEY.

    Args:
        monitoring_url: `udp://address:port` of the receiver.
        timeout: not used.

    Raises:
        ValueError: when the URL has no address and port, or there is no key.
    """

    def __init__(self, monitoring_url: str, timeout: int = 10) -> None:
        parts = urlsplit(monitoring_url)
        key = os.environ.get(KEY_VARIABLE)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{monitoring_url!r} is not of the form udp://address:port")
        if not key:
            raise ValueError(f"datagrams are signed: give the receiver's key in {KEY_VARIABLE}, or use UDPRadio")
        super().__init__(parts.hostname, parts.port, bytes.fromhex(key), "sha512", timeout)


class ZMQRadioSender(zmq.ZMQRadioSender):
    """Sends messages over TCP."""

    def __init__(self, hub_address: str, hub_zmq_port: int, **options: Any) -> None:
        super().__init__(hub_address, hub_zmq_port, **options)
