"""What checks may ask of this host and of batch systems: a narrow protocol, so that tests can answer instead."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from typing import TYPE_CHECKING, Protocol

from parsl.providers.commands import Answer
from parsl.utils import execute_wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsl.providers.batch_system import BatchSystem

__all__ = ["HostProbe", "Probe"]

_CONNECT_SECONDS = 3.0


class Probe(Protocol):
    """Everything that a check learns about the world."""

    def has_program(self, program: str) -> bool:
        """Tell whether a program is on this host's PATH."""

    def bash(self, script: str, seconds: float, *, login: bool) -> Answer:
        """Run bash text on this host, in a login shell or not; without end in time, the code is None."""

    def ask(self, provider: BatchSystem, command: str) -> Answer:
        """Run a command where the provider runs its own; without answer in time, the code is None."""

    def resolve(self, host: str) -> Sequence[str]:
        """Return the addresses of a host name; raise OSError if there are none."""

    def addresses(self) -> set[str]:
        """Return all addresses of this host."""

    def free_port(self, first: int, last: int) -> int:
        """Return a port from `first` to below `last` that can be listened on; raise OSError if there is none."""

    def reach(self, addresses: Sequence[str], port: int) -> str:
        """Listen on a port, connect to it by these addresses, return the first that answers; raise OSError if none."""

    def write(self, folder: str) -> None:
        """Write a file to a folder, or to where it would be made, and delete it; raise OSError if that fails."""

    def keys(self, folder: str) -> None:
        """Make encryption keys there, read them, delete them; raise OSError or ValueError if that fails."""

    def file_system(self, path: str) -> str:
        """Return the kind of file system that a path is on, such as "nfs4"; "" if that cannot be told."""

    def has_module(self, name: str) -> bool:
        """Tell whether a module can be imported, without importing it."""


class HostProbe:
    """Answers from this host."""

    def has_program(self, program: str) -> bool:
        """Tell whether a program is on this host's PATH."""
        return shutil.which(program) is not None

    def bash(self, script: str, seconds: float, *, login: bool) -> Answer:
        """Run bash text; all that it started is killed when the time is over."""
        shell = "bash -l" if login else "bash"
        try:
            return Answer(shell, *execute_wait(f"exec {shell} -c {shlex.quote(script)}", seconds))
        except subprocess.TimeoutExpired:
            return Answer(shell, None, err=f"no end within {seconds:g} s")
        except OSError as error:
            return Answer(shell, None, err=f"cannot be run: {error}")

    def ask(self, provider: BatchSystem, command: str) -> Answer:
        """Run a command through the provider, whose users may have told it to run them elsewhere."""
        try:
            return Answer(command, *provider.execute_wait(command))
        except subprocess.TimeoutExpired:
            return Answer(command, None, err=f"no answer within {provider.cmd_timeout} s")
        except OSError as error:
            return Answer(command, None, err=f"cannot be run: {error}")

    def resolve(self, host: str) -> Sequence[str]:
        """Look a name up."""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError(f"{host!r} is no host name: {error}") from error
        return [str(entry[4][0]).partition("%")[0] for entry in found]

    def addresses(self) -> set[str]:
        """Return all addresses of this host."""
        from parsl.addresses import get_all_addresses

        return get_all_addresses()

    def free_port(self, first: int, last: int) -> int:
        """Find a port by listening on it."""
        problem = OSError(f"there is no port from {first} to below {last}")
        for port in range(first, last):
            try:
                _listener(port).close()
            except OSError as error:
                problem = error
            else:
                return port
        raise problem

    def reach(self, addresses: Sequence[str], port: int) -> str:
        """Connect from this host to itself."""
        from parsl.executors.high_throughput.probe import probe_addresses

        # As the interchange does: on IPv6 only where it has to be.
        with _listener(port, ipv6=all(":" in address for address in addresses)):
            return probe_addresses(addresses, port, _CONNECT_SECONDS)

    def write(self, folder: str) -> None:
        """Write to a folder, or to the nearest one above that is there."""
        with tempfile.TemporaryFile(dir=_nearest(folder)) as file:
            file.write(b"parsl-doctor")

    def keys(self, folder: str) -> None:
        """Make keys and read them back, as both ends of a connection do."""
        from parsl.curvezmq import ClientContext, ServerContext, create_certificates

        with tempfile.TemporaryDirectory(dir=_nearest(folder), prefix="parsl-doctor-") as place:
            certificates = create_certificates(place)
            for kind in (ServerContext, ClientContext):
                kind(certificates).destroy()

    def file_system(self, path: str) -> str:
        """Look for the mount with the longest path above this one."""
        import psutil

        real = os.path.realpath(_nearest(path))
        # Of two mounts at one place the later one counts, and `max` takes the first that it meets.
        mounts = [m for m in reversed(psutil.disk_partitions(all=True)) if _is_within(real, m.mountpoint)]
        return str(max(mounts, key=lambda m: len(m.mountpoint)).fstype) if mounts else ""

    def has_module(self, name: str) -> bool:
        """Look for a module; its parents are imported."""
        try:
            return importlib.util.find_spec(name) is not None
        except ImportError:
            return False


def _listener(port: int, *, ipv6: bool = False) -> socket.socket:
    return socket.create_server(("", port), family=socket.AF_INET6 if ipv6 else socket.AF_INET)


def _nearest(folder: str) -> str:
    """Return the folder, or else the nearest one above that is there."""
    place = os.path.abspath(folder)
    while not os.path.exists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    return place


def _is_within(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")
