"""Calls made in another process, which has nothing but their packed form."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from parsl.serialize import facade

SOURCE = str(pathlib.Path(facade.__file__).parents[2])

_CHILD = """
import sys
from parsl.serialize import facade
function, args, kwargs = facade.unpack_apply_message(sys.stdin.buffer.read())
body, buffers = facade.pack_result(function(*args, **kwargs))
sys.stdout.buffer.write(facade.pack_buffers([body, *(b.raw().tobytes() for b in buffers)]))
"""


def call_elsewhere(function, *args, path=(), **kwargs):
    """Call a function in a process that finds parsl and the folders of `path`, and nothing of the caller's."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, *map(str, path)])}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=facade.pack_apply_message(function, args, kwargs),
        capture_output=True,
        cwd="/",
        env=environment,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    body, *buffers = facade.unpack_buffers(done.stdout)
    return facade.unpack(body, buffers)
