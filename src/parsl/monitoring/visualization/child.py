"""The page as a process of a running program: `python -m parsl.monitoring.visualization.child`.

Its configuration comes as one line of JSON on standard input: `url` of the database, `fd` of a socket that listens,
`token` or null. When standard input ends, the program has, and so does this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys

from parsl.monitoring.visualization.server import Server
from parsl.monitoring.visualization.source import Source

# The run comes first.
_NICENESS = 10


def main() -> None:
    """Serve the page until standard input ends."""
    given = json.loads(sys.stdin.buffer.readline())
    os.nice(_NICENESS)
    # A ctrl-C in the terminal goes to the whole group: the program decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=given["fd"]) as listening:
        asyncio.run(_serve(given["url"], given["token"], listening))


async def _serve(url: str, token: str | None, listening: socket.socket) -> None:
    server = Server(Source(url), token, listening)
    # It would take ctrl-C for its own.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]

    def heard() -> None:
        if not os.read(0, 65536):
            asyncio.get_running_loop().remove_reader(0)
            server.should_exit = True

    asyncio.get_running_loop().add_reader(0, heard)
    await server.serve_listening()


if __name__ == "__main__":
    main()
