"""Where the messages of tasks on a worker of the pilot go out: a function that the worker puts here."""

from __future__ import annotations

from collections.abc import Callable

send: Callable[[bytes], object] | None = None
