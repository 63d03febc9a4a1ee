"""Under which addresses other hosts may reach this one.

No single answer is right everywhere: clusters have several networks, and only some of them join the nodes. Each
`address_by_...` gives one opinion, for use in a configuration; `get_all_addresses` gives all there are, to be tried.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator

logger = logging.getLogger(__name__)

QUERY_URL = "https://api.ipify.org"
"""A service that answers with the address a request came from, as text."""

# Connecting a datagram socket sends nothing; it only makes the kernel choose a route, and with it our address.
_FAR_AWAY = ((socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2001:4860:4860::8888"))


def address_by_query(timeout: float = 30) -> str:
    """Ask a public service for the address under which the internet sees this host.

    Args:
        timeout: Seconds to wait for the answer.

    Returns:
        The address; behind a router it is the router's.

    Raises:
        OSError: No answer came.
        ValueError: The answer is no address.
    """
    import ipaddress
    from urllib.request import urlopen

    with urlopen(QUERY_URL, timeout=timeout) as response:
        answer = response.read(100).decode(errors="replace").strip()
    return str(ipaddress.ip_address(answer))


def address_by_hostname() -> str:
    """Look up this host's own name.

    Returns:
        An IPv4 address if the name has one, else an IPv6 address; on some systems a loopback address.

    Raises:
        OSError: The name can't be resolved.
    """
    found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    addresses = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)
    return _without_scope(str(addresses[0][4][0]))


def address_by_route() -> str:
    """Find the address from which this host would talk to the internet, without sending anything.

    Returns:
        The address of the interface of the default route, IPv4 before IPv6.

    Raises:
        OSError: There is no such route.
    """
    problem = OSError(errno.ENETUNREACH, "No default route")
    for family, destination in _FAR_AWAY:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((destination, 80))
                return _without_scope(str(probe.getsockname()[0]))
        except OSError as error:
            problem = error
    raise problem


def address_by_interface(ifname: str) -> str:
    """Look up the address of one network interface.

    Args:
        ifname: Its name, such as "eth0".

    Returns:
        Its IPv4 address if it has one, else its IPv6 address.

    Raises:
        OSError: There is no such interface, or it has no address.
    """
    import psutil

    interfaces = psutil.net_if_addrs()
    if ifname not in interfaces:
        raise OSError(errno.ENODEV, f"No network interface {ifname!r}; there are {', '.join(sorted(interfaces))}")
    for family in (socket.AF_INET, socket.AF_INET6):
        for entry in interfaces[ifname]:
            if entry.family == family:
                return _without_scope(entry.address)
    raise OSError(errno.EADDRNOTAVAIL, f"Network interface {ifname!r} has no internet address")


def get_all_addresses() -> set[str]:
    """Collect every address of this host: of all interfaces that are up, and of its name.

    Returns:
        IPv4 and IPv6 addresses, loopback included, without scope ids.
    """
    addresses = set(_interface_addresses())
    try:
        addresses.add(address_by_hostname())
    except OSError as error:
        logger.debug("The name of this host gives no address: %s", error)
    return addresses


def get_any_address() -> str:
    """Find one address of this host, the one most likely to be of use to others.

    Returns:
        The address of the default route, or else of another interface, loopback last, or else of the host's name.

    Raises:
        OSError: This host has no address at all.
    """
    try:
        return address_by_route()
    except OSError as error:
        logger.debug("No address by route: %s", error)
    every = list(_interface_addresses())
    outside = [address for address in every if not address.startswith(("127.", "::1", "fe80:"))]
    return (outside or every or [address_by_hostname()])[0]


def tcp_url(address: str, port: str | int | None = None) -> str:
    """Write an address and a port as ZeroMQ takes them.

    Args:
        address: An IPv4 or IPv6 address, a host or interface name, or "*".
        port: 0 to 65535, a text such as "*", or None for a URL without a port.

    Returns:
        "tcp://127.0.0.1:5", "tcp://[::1]:5", "tcp://login.example.org".

    Raises:
        ValueError: The address is empty or has colons but is no IPv6 address, or the port is out of range.
    """
    if not address:
        raise ValueError("tcp_url: the address is empty")
    if isinstance(port, int) and not 0 <= port <= 0xFFFF:
        raise ValueError(f"tcp_url: a port is 0 to 65535, but got {port}")
    if ":" in address:
        import ipaddress

        address = f"[{ipaddress.IPv6Address(address.removeprefix('[').removesuffix(']'))}]"
    return f"tcp://{address}" if port is None else f"tcp://{address}:{port}"


def _interface_addresses() -> Iterator[str]:
    """Give the addresses of the interfaces that are up, IPv4 first."""
    import psutil

    states = psutil.net_if_stats()
    up = [entries for name, entries in psutil.net_if_addrs().items() if name in states and states[name].isup]
    for family in (socket.AF_INET, socket.AF_INET6):
        for entries in up:
            yield from (_without_scope(entry.address) for entry in entries if entry.family == family)


def _without_scope(address: str) -> str:
    """Drop the scope of a link-local IPv6 address: it means something on this host only."""
    return address.partition("%")[0]
