"""Checks of the way from nodes to this host: addresses and ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from parsl.doctor.case import Case, Place
from parsl.doctor.findings import Finding, fail, ok, warn
from parsl.doctor.placeholders import PLACEHOLDER
from parsl.doctor.probe import Probe

__all__ = ["check_network"]

_DEFAULT_PORTS = (54000, 55000)


def check_network(case: Case, probe: Probe) -> Iterator[Finding]:
    """See whether nodes will know an address of this host, and whether a port behind it can be listened on.

    Whether they reach it is known when a task has run; from here, this host can at least reach itself.
    """
    if not hasattr(case.executor, "worker_port_range"):
        return
    port, finding = _port(case, probe)
    yield finding
    address = case.option("address")
    if address is not None and PLACEHOLDER.search(address):
        return
    addresses = sorted(probe.addresses()) if address is None else [address]
    complaint = _complaint(case, address, addresses, probe)
    if complaint is not None:
        yield complaint
    elif port is not None:
        yield _reached(case, addresses, port, probe)


def _port(case: Case, probe: Probe) -> tuple[int | None, Finding]:
    """Find the port that the interchange would take."""
    wanted = case.option("worker_port")
    first, last = (wanted, wanted + 1) if wanted else case.option("worker_port_range") or _DEFAULT_PORTS
    called = f"port {wanted}" if wanted else f"ports {first} to {last - 1}"
    name = "worker_port" if wanted else "worker_port_range"
    try:
        port = probe.free_port(first, last)
    except OSError as error:
        remedy = f"choose another {name}, or leave it out" if wanted else f"choose another {name}"
        return None, fail("port", f"{called}: nothing can listen there", str(error), remedy)
    return port, ok("port", f"{called}: {'it is free' if wanted else f'{port} is free'}")


def _complaint(case: Case, address: str | None, addresses: Sequence[str], probe: Probe) -> Finding | None:
    """Say what is wrong with the addresses that nodes are told, if something is."""
    advice = "name the network that nodes see: address=parsl.addresses.address_by_interface('...'), or leave it out"
    if address is not None:
        try:
            addresses = probe.resolve(address)
        except OSError as error:
            return fail("address", f"address {address!r} cannot be resolved", str(error), advice)
    if case.place is Place.HERE or not all(map(_is_loopback, addresses)):
        return None
    which = f"address {address!r}" if address else "each address of this host"
    return fail("address", f"{which} is a loopback address", "to a node, that is the node itself", advice)


def _reached(case: Case, addresses: Sequence[str], port: int, probe: Probe) -> Finding:
    told = ", ".join(a for a in addresses if case.place is Place.HERE or not _is_loopback(a))
    try:
        answering = probe.reach(addresses, port)
    except OSError as error:
        # In a cloud, the outer address of a router is right and need not work from inside.
        judge = warn if case.place is Place.CLOUD else fail
        return judge(
            "address",
            f"this host does not reach itself at {told}",
            str(error),
            "see whether the address is one of this host's own (`ip address`), and whether a firewall is in the way",
        )
    if case.place is Place.HERE:
        return ok("address", f"this host reaches itself at {answering}")
    return ok("address", f"nodes are told to connect to {told}")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
