"""Finding out at which of several addresses a host can be reached."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Sequence


class UnreachableError(OSError):
    """None of the addresses answered; the text says what each of them did.

    Attributes:
        refused: whether a host was reached, where nobody listens.
    """

    refused = False


def probe_addresses(addresses: Sequence[str], port: int, timeout: float) -> str:
    """Connect to a port at all addresses at once, and return the first that answers.

    Args:
        addresses: host names, IPv4 or IPv6 addresses.
        port: TCP port.
        timeout: seconds to wait at most.

    Returns:
        The address; of a host name, that one of its addresses which answered.

    Raises:
        UnreachableError: when none answers in time.
    """
    failures: dict[str, str] = {}
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        try:
            for address in addresses:
                _begin(selector, address, port, failures)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    failures.update((key.data, "no answer") for key in selector.get_map().values())
                    break
                for key, _ in ready:
                    connection: socket.socket = key.fileobj  # type: ignore[assignment]  # see `_begin`
                    problem = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not problem:
                        return str(key.data)
                    failures[key.data] = errno.errorcode.get(problem, str(problem))
                    selector.unregister(connection)
                    connection.close()
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]  # see `_begin`
    tried = "; ".join(f"{a}: {why}" for a, why in failures.items()) or "no addresses were given"
    msg = f"no route to the interchange on port {port} within {timeout:g} s ({tried})"
    error = UnreachableError(msg)
    error.refused = errno.errorcode[errno.ECONNREFUSED] in failures.values()
    raise error


def _begin(selector: selectors.BaseSelector, address: str, port: int, failures: dict[str, str]) -> None:
    """Begin to connect to all that an address, which may be a host name, stands for."""
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        failures[address] = str(e)
        return
    for family, kind, protocol, _, target in found:
        numeric = str(target[0])
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as e:
            failures[numeric] = str(e)  # a family that this host does not have
            continue
        connection.setblocking(False)
        problem = connection.connect_ex(target)
        if problem in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            selector.register(connection, selectors.EVENT_WRITE, numeric)
        else:
            failures[numeric] = errno.errorcode.get(problem, str(problem))
            connection.close()
