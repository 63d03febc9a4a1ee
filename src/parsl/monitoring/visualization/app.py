"""The command `parsl-visualize`: serves the live page over a monitoring database."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import secrets
import sys
from collections.abc import Sequence

from parsl.errors import OptionalModuleMissing
from parsl.log_utils import set_stream_logger

DEFAULT_DATABASE = "sqlite:///runinfo/monitoring.db"
DEFAULT_PORT = 8080
LAST_PORT = 65535

_NEEDED = ("starlette", "uvicorn", "jinja2", "plotly", "sqlalchemy")


def check_installed() -> None:
    """Look whether all that the page is built on is there.

    Raises:
        OptionalModuleMissing: when something is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionalModuleMissing(missing, "The live page needs them: pip install 'parsl[visualization]'")


def make_token() -> str:
    """Make a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def database_url(given: str) -> str:
    """Return the URL of a database that is given as one, or as the path of an SQLite file."""
    return given if "://" in given else f"sqlite:///{given}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="parsl-visualize", description="Serve a live page over the monitoring database of Parsl's runs."
    )
    parser.add_argument(
        "db_path",
        nargs="?",
        default=DEFAULT_DATABASE,
        help="the database: sqlite:///path, postgresql://user:password@host/name, or the path of an SQLite file; "
        "default: %(default)s. It need not be there yet",
    )
    parser.add_argument(
        "-p",
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="port to listen on, 0 for any free one; default: %(default)s",
    )
    parser.add_argument("-d", "--debug", action="store_true", help="log each request")
    parser.add_argument(
        "-l",
        "--listen",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen on; default: %(default)s, which only this machine reaches. With another one, such as "
        "0.0.0.0 for all, the page asks for a token, which is part of the address that is printed",
    )
    parser.add_argument(
        "--token", action="store_true", help="ask for a token also where only this machine reaches the page"
    )
    return parser.parse_args(arguments)


def cli_run(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until ctrl-C.

    Args:
        arguments: of the command line; None for those of this process.
    """
    given = _parse(arguments)
    if not 0 <= given.port <= LAST_PORT:
        sys.exit(f"parsl-visualize: there is no port {given.port}: they go up to {LAST_PORT}")
    try:
        check_installed()
        from parsl.monitoring.visualization import server
        from parsl.monitoring.visualization.source import Source

        token = make_token() if given.token or not server.is_loopback(given.listen) else None
        source = Source(database_url(given.db_path))
        listening = server.listen(given.listen, given.port)
    except (OptionalModuleMissing, ValueError) as e:
        sys.exit(f"parsl-visualize: {e}")
    except OSError as e:
        sys.exit(f"parsl-visualize: cannot listen on {given.listen} port {given.port}: {e.strerror or e}; see --port")
    if given.debug:
        set_stream_logger("uvicorn", level=logging.DEBUG)
    with listening:
        url = server.page_url(given.listen, listening.getsockname()[1], token)
        print(f"{source.name} is shown at {url} (ctrl-C ends it)", flush=True)
        try:
            asyncio.run(server.Server(source, token, listening, given.debug).serve_listening())
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    cli_run()
