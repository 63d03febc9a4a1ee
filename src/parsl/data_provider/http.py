"""Staging of files of the schemes http and https.

On urllib of the standard library: a plain install can fetch data, and workers need nothing besides. It follows
redirects, keeps to the proxies of the environment, checks certificates and streams, which is all that is needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from parsl.data_provider.transfer import (
    CHUNK,
    TIMEOUT_S,
    Interrupted,
    Refused,
    Transfer,
    carry_out,
    check_length,
    may_pass,
    without_password,
)
from parsl.data_provider.ways import InTaskStaging, SeparateTaskStaging, fetching_first

if TYPE_CHECKING:
    from urllib.request import Request

    from parsl.data_provider.files import File

# The server is asked to wait, is overloaded, or is not there just now.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def _http_fetch(url: str, target: str) -> None:
    """Write what a URL gives to a file."""
    import shutil
    from http.client import HTTPException

    with _opened(_request(url, "GET")) as response, open(target, "wb") as file:
        try:
            shutil.copyfileobj(response, file, CHUNK)
        except (HTTPException, ConnectionError, TimeoutError) as e:
            raise Interrupted(f"the transfer was cut: {e!r}") from e
        length = response.headers.get("Content-Length")
        check_length(file.tell(), None if length is None else int(length))


def _http_send(source: str, url: str) -> None:
    """Send a file by PUT. Servers write the whole of it or nothing, as the request has a length."""
    with open(source, "rb") as file:
        request = _request(url, "PUT")
        request.data = file
        request.add_header("Content-Type", "application/octet-stream")
        request.add_header("Content-Length", str(os.fstat(file.fileno()).st_size))
        with _opened(request) as response:
            response.read()


def _request(url: str, method: str) -> Request:
    """Make a request; user and password of the URL become a header."""
    import base64
    from urllib.parse import quote, unquote, urlsplit
    from urllib.request import Request

    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    # In a path that somebody typed, blanks and the like may be unquoted; what is quoted stays so.
    path = quote(parts.path, safe="/%:=&?~#+!$,;'@()*[]")
    plain = parts._replace(netloc=host, path=path, fragment="").geturl()
    request = Request(plain, method=method)  # noqa: S310 - the provider takes http and https only
    if user:
        secret = base64.b64encode(":".join(unquote(part) for part in user.split(":", 1)).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request


@contextlib.contextmanager
def _opened(request: Request) -> Iterator[Any]:
    """Give the answer to a request; tell what may pass from what will not."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        response = urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - see _request
    except HTTPError as e:
        with e:
            reason = f"{without_password(e.url)} answered {e.code} {e.reason}"
        raise (Interrupted if e.code in _PASSING else Refused)(reason) from None
    except URLError as e:
        raise (Interrupted if may_pass(e.reason) else Refused)(f"the server cannot be reached: {e.reason}") from e
    except (HTTPException, ConnectionError, TimeoutError) as e:
        raise Interrupted(f"the connection broke: {e!r}") from e
    with response:
        yield response


def _http_transfer(transfer: Transfer) -> None:
    carry_out(transfer, _http_fetch if transfer.inbound else _http_send)


def _http_stage_in(transfer: Transfer, after: object = None) -> None:
    """Fetch a file: the function of a task, which gets what it waits for as `after`."""
    _http_transfer(transfer)


def _http_stage_out(transfer: Transfer, after: object = None) -> None:
    """Send a file: the function of a task, which gets what it waits for as `after`."""
    _http_transfer(transfer)


class HTTPSeparateTaskStaging(SeparateTaskStaging):
    """Fetches `http:` and `https:` files, and sends them by PUT, each in a task of its own.

    That task runs on the executor of the app, whose workers must share the folder into which files are staged.
    """

    schemes = frozenset({"http", "https"})
    fetch = staticmethod(_http_stage_in)
    send = staticmethod(_http_stage_out)


class HTTPInTaskStaging(InTaskStaging):
    """Fetches `http:` and `https:` files, and sends them by PUT, inside the task that uses them.

    For workers that share no folder.
    """

    schemes = frozenset({"http", "https"})
    carry = staticmethod(_http_transfer)


def in_task_transfer_wrapper(func: Callable[..., Any], file: File, working_dir: str | None) -> Callable[..., Any]:
    """Put the fetching of a file before a function.

    Args:
        func: the function.
        file: the file; it goes to its `local_path`, or if it has none, to its name in `working_dir`.
        working_dir: the folder; None is the one in which the function runs.

    Returns:
        A function that fetches the file and calls `func`.
    """
    return fetching_first(HTTPInTaskStaging, func, file, working_dir)
