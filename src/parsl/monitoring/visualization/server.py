"""The application and its server: routes, static files, and an end that does not wait for those who watch."""

from __future__ import annotations

import gzip
import importlib.util
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from parsl.monitoring.visualization.guard import Guard
from parsl.monitoring.visualization.source import NotThereYetError, Source, UnreadableError
from parsl.monitoring.visualization.views import Views

logger = logging.getLogger(__name__)

_HERE = os.path.dirname(os.path.abspath(__file__))

# After the last word to those who watch, so long connections may take to end.
_PATIENCE_SECONDS = 2


def make_app(source: Source, token: str | None = None, port: int = 0) -> Starlette:
    """Make the application.

    Args:
        source: the database.
        token: what a browser has to know; None where nobody is asked.
        port: tells the cookies of several pages on one host apart.
    """
    views = Views(source)
    run = "/runs/{run_id}"
    routes = [
        Route("/", views.runs),
        Route(run, views.overview),
        Route(f"{run}/tasks", views.tasks),
        Route(f"{run}/tasks/{{task}}", views.task),
        Route(f"{run}/tasks/{{task}}/figure", views.task_figure),
        Route(f"{run}/timeline", views.timeline),
        Route(f"{run}/graph", views.graph),
        Route(f"{run}/failures", views.failed),
        Route(f"{run}/resources", views.resources),
        Route(f"{run}/nodes", views.nodes),
        Route(f"{run}/logs", views.logs),
        Route(f"{run}/figures/{{name}}", views.figure),
        Route("/events", views.events),
        Route("/plotly.min.js", plotly),
        Mount("/static", StaticFiles(directory=os.path.join(_HERE, "static"))),
    ]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await source.close()

    guard = Middleware(Guard, token=token, cookie=f"parsl-token-{port}", refusal=views.ask_token)
    return Starlette(
        routes=routes,
        middleware=[guard],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: views.refused,
            NotThereYetError: views.not_there_yet,
            UnreadableError: views.unreadable,
        },
    )


def plotly_path() -> str | None:
    """Return where the browser's part of plotly is: it comes with the Python package, which is not imported."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = os.path.join(folder, "package_data", "plotly.min.js")
        if os.path.exists(path):
            return path
    return None


@lru_cache(maxsize=1)
def _packed_plotly(path: str) -> bytes:
    return gzip.compress(_plain_plotly(path), 6)


def _plain_plotly(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


async def plotly(request: Request) -> Response:
    """Serve plotly, packed where the browser takes it: through a tunnel that is a second instead of four."""
    path = plotly_path()
    if path is None:
        raise HTTPException(404, "Plotly is not installed.")
    headers = {"Cache-Control": "private, max-age=604800", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        content = await run_in_threadpool(_packed_plotly, path)
    else:
        content = await run_in_threadpool(_plain_plotly, path)
    return Response(content, media_type="text/javascript", headers=headers)


def listen(address: str, port: int) -> socket.socket:
    """Listen on an address and port; 0 for any free one.

    Raises:
        OSError: when that is not possible, for example because another program has the port.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=128)


def is_loopback(address: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    return address in {"localhost", "::1"} or address.startswith("127.")


def page_url(address: str, port: int, token: str | None) -> str:
    """Return what to type into a browser."""
    host = socket.gethostname() if address in {"0.0.0.0", "::", ""} else address  # noqa: S104 - a comparison
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


class Server(uvicorn.Server):
    """A server whose end does not wait for those who watch: they are told that it ends.

    Args:
        source: the database.
        token: what a browser has to know; None where nobody is asked.
        listening: a socket that listens.
        debug: whether requests are logged.
    """

    def __init__(self, source: Source, token: str | None, listening: socket.socket, debug: bool = False) -> None:
        self._source = source
        self._listening = listening
        app = make_app(source, token, listening.getsockname()[1])
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="debug" if debug else "warning",
                access_log=debug,
                server_header=False,
                timeout_graceful_shutdown=_PATIENCE_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, after a last word to those who watch."""
        await self._source.close()
        await super().shutdown(sockets)

    async def serve_listening(self) -> None:
        """Serve until `should_exit` is set or a signal comes."""
        await self.serve(sockets=[self._listening])
