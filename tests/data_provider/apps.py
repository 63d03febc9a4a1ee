"""Apps that read and write files, for tests of staging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parsl import python_app


@python_app
def read(file: Any, inputs: Any = ()) -> list[bytes]:
    """Return what is in files, each read."""
    return [Path(f).read_bytes() for f in (file, *inputs)]


@python_app
def write(content: bytes, outputs: Any = ()) -> bytes:
    """Write the same into files, and return it."""
    for output in outputs:
        Path(output).write_bytes(content)
    return content
