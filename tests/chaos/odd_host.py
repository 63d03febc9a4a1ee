"""A small run in surroundings that `test_surroundings.py` makes; prints what came of it."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time

import parsl
from parsl.app.app import bash_app, python_app
from parsl.config import Config
from tests.live import pilot


def main() -> None:
    """Run as the first argument says, in the run folder that the second names."""
    surroundings, run_dir = sys.argv[1:3]
    if surroundings == "few descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    with parsl.load(Config(executors=[pilot.htex()], strategy="none", run_dir=run_dir)):
        if surroundings == "disk full meanwhile":
            with open(os.path.join(run_dir, "filler"), "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError as e:
                    print("full:", e, flush=True)
        if surroundings == "clock stepped back":
            real = time.time
            time.time = lambda: real() - 3600
        square = python_app(pow)
        hello = bash_app(echo)
        results = [f.result(60) for f in [square(i, 2) for i in range(1000)]]
        assert results == [i * i for i in range(1000)]
        assert [f.result(60) for f in [hello(i) for i in range(20)]] == [0] * 20
        print("host:", python_app(socket.gethostname)().result(60), flush=True)
    print("done", flush=True)


def echo(number: int) -> str:
    """Say something."""
    return f"echo {number} > /dev/null"


if __name__ == "__main__":
    from tests.chaos import odd_host

    odd_host.main()
