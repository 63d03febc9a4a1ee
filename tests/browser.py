"""A headless Chromium for tests, driven through a pipe by the DevTools protocol: no port, no driver, no library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

# Debian's name for it, and those of others.
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

SECONDS = 60.0

# The protocol has its pipes at 3 and 4. Copied above them first, in case one of them is 3 or 4 already.
_WITH_PIPES = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 5) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
for pipe in pipes:
    os.close(pipe)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser, or a script in it, has failed."""


def find() -> str | None:
    """Return the path of a Chromium; None where there is none."""
    return next((path for path in map(shutil.which, _NAMES) if path), None)


class Page:
    """A browser with one page.

    Attributes:
        complaints: errors and warnings that the page's console has shown, and exceptions that no script caught.
        requests: the URLs that the page has asked for.
    """

    def __init__(self, command: int, answers: int) -> None:
        self._command = command
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._command, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                break
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], SECONDS)[0]:
                raise BrowserError(f"the browser says nothing for {SECONDS:g} s")
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise BrowserError("the browser has ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}".strip())
        elif event == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loaded = True

    def go(self, url: str) -> None:
        """Open a URL and wait until it is loaded."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._read()

    def run(self, script: str) -> Any:
        """Return the value of an expression, or that which its promise leads to."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = SECONDS) -> None:
        """Wait until an expression is true, looked at whenever the page changes.

        A page that is loaded anew meanwhile is waited for as well.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                text = self.run("document.body.innerText")
                raise BrowserError(f"not so within {seconds:g} s: {condition}\n{text}\n{self.complaints}")
            with contextlib.suppress(BrowserError):  # its page has gone
                is_so = self.run(
                    "new Promise((done) => {"
                    f"  const look = () => {{ const found = ({condition}); if (found) {{ end(true); }} }};"
                    "  const end = (value) => { watch.disconnect(); clearTimeout(timer); done(value); };"
                    "  const watch = new MutationObserver(look);"
                    f"  const timer = setTimeout(() => end(null), {min(left, 5.0) * 1000});"
                    "  watch.observe(document, {subtree: true, childList: true, attributes: true,"
                    "                           characterData: true});"
                    "  look(); })"
                )
                if is_so:
                    return

    def text(self) -> str:
        """Return the text that is to be seen."""
        found: str = self.run("document.body.innerText")
        return found

    def look(self, *, dark: bool = False, width: int = 1280, height: int = 900, phone: bool = False) -> None:
        """Set the scheme and the size of the screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def picture(self, *, whole: bool = False, most: int = 4000) -> bytes:
        """Return a PNG of what is to be seen, or of the whole page up to a height of `most`."""
        if not whole:
            return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(answer["data"])


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """Run a Chromium, and give its page."""
    path = find()
    assert path is not None, "no Chromium is installed"
    to_read, command = os.pipe()
    answers, to_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        arguments = [
            path, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-crash-reporter", "--no-default-browser-check",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--force-color-profile=srgb", "about:blank",
        ]  # fmt: skip
        if os.geteuid() == 0:
            arguments.insert(1, "--no-sandbox")  # it refuses to run as root with one

        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _WITH_PIPES, str(to_read), str(to_write), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_read, to_write),
            start_new_session=True,
            env={**os.environ, "HOME": folder},
        )
        os.close(to_read)
        os.close(to_write)
        try:
            page = Page(command, answers)
            yield page
            page._session = None
            page.call("Browser.close")
            process.wait(SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(command)
            os.close(answers)
