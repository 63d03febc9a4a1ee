"""Carries a usage report to its endpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from parsl.errors import ConfigurationError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

logger = logging.getLogger(__name__)


def parse_endpoint(text: str) -> SplitResult:
    """Read where reports go.

    Args:
        text: "http://host/path", "https://host/path", "udp://host:port", or "host:port" for UDP.

    Returns:
        The parts of the URL, for `deliver`.

    Raises:
        ConfigurationError: It has another form.
    """
    from urllib.parse import urlsplit

    forms = "http://host/path, https://host/path, udp://host:port or host:port"
    message = f"A usage tracking endpoint has the form {forms}, but got {text!r}"
    try:
        url = urlsplit(text if "://" in text else f"udp://{text}")
        legal = url.hostname and (url.scheme in {"http", "https"} or (url.scheme == "udp" and url.port))
    except ValueError as error:
        raise ConfigurationError(f"{message}: {error}") from error
    if not legal:
        raise ConfigurationError(message)
    return url


def deliver(url: SplitResult, report: Mapping[str, object], timeout: float) -> None:
    """Send one report; log it at DEBUG when that fails.

    Args:
        url: From `parse_endpoint`.
        report: Names and values; what JSON can't express goes as its `str`.
        timeout: Seconds that it may take.
    """
    try:
        body = json.dumps(report, default=str).encode()
        if url.scheme == "udp":
            _send_datagram(url, body)
        else:
            _post(url.geturl(), body, timeout)
    except Exception as error:  # noqa: BLE001 - no failure here is of interest to a run
        logger.debug("Usage report not delivered to %s: %s", url.geturl(), error)


def _send_datagram(url: SplitResult, body: bytes) -> None:
    import socket

    family, kind, protocol, _, address = socket.getaddrinfo(url.hostname, url.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sender:
        sender.sendto(body, address)


def _post(url: str, body: bytes, timeout: float) -> None:
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Unredirected(HTTPRedirectHandler):
        """The user named one endpoint; it can't send us on to another."""

        def redirect_request(self, *_args: object) -> None:
            return None

    request = Request(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310 - http by parse_endpoint
    try:
        build_opener(Unredirected).open(request, timeout=timeout).close()
    except HTTPError as refusal:
        refusal.close()  # an error of this kind is a response as well, and holds the connection
        raise
