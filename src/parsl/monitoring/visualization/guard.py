"""Who may look: a token where the page can be reached from elsewhere, and the headers that keep a page to itself."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing from elsewhere, no scripts in the text, and no page of others around ours. Styles in the text are plotly's.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

_MONTH_SECONDS = 30 * 24 * 3600
_LONGEST_FORM = 4096


class Guard:
    """Lets requests through that may pass, and adds headers to all answers.

    Without a token, a request has to be for a loopback name: a page elsewhere whose name leads here (DNS rebinding) is
    refused.

    Args:
        app: what is guarded.
        token: what has to be known; None where nobody is asked.
        cookie: name of the cookie that remembers it.
        refusal: makes the answer to one who does not know it; it is told whether a wrong one was given.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, cookie: str, refusal: Callable[[Request, bool], Response]
    ) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope, receive)
        answer = self._check_host(request) if self._token is None else await self._check_token(request, self._token)
        await (self._app if answer is None else answer)(scope, receive, send_with_headers)

    def _check_host(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name in _LOOPBACK:
            return None
        return Response(f"This page is not for the host {name!r}.", status_code=421, media_type="text/plain")

    async def _check_token(self, request: Request, token: str) -> Response | None:
        # The looks of the page that asks are no secret.
        if request.url.path.startswith("/static/") or _same(request.cookies.get(self._cookie, ""), token):
            return None
        given = request.query_params.get("token")
        if given is None and request.method == "POST" and request.url.path == "/token":
            given = await _posted_token(request)
        if given is None or not _same(given, token):
            return self._refusal(request, given is not None)
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        path = "" if request.url.path == "/token" else request.url.path
        # Out of the address, where it would stay in histories. A path with two slashes would lead to another host.
        answer = RedirectResponse("/" + path.lstrip("/\\") + _query(rest), 303)
        answer.set_cookie(self._cookie, token, max_age=_MONTH_SECONDS, httponly=True, samesite="lax")
        return answer


def _query(pairs: list[tuple[str, str]]) -> str:
    return f"?{urlencode(pairs)}" if pairs else ""


async def _posted_token(request: Request) -> str | None:
    """Read the token from a form, which is short."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_FORM:
            return None
    given = parse_qs(body.decode(errors="replace")).get("token")
    return given[0] if given else None


def _same(given: str, token: str) -> bool:
    """Compare in a time that tells nothing of how much is the same."""
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())
