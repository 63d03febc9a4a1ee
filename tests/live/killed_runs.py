"""Runs that save results and are killed, one after another: started by `test_checkpoint_kill.py`.

Once started it has loaded all that a run needs; for each line on standard input it forks a run. A run computes numbers
from the given one on, without end, and writes to standard output each that it was told is done.
"""

from __future__ import annotations

import os
import sys

from parsl.app.python import PythonApp
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors.threads import ThreadPoolExecutor

AT_ONCE = 20


def sized(n: int) -> bytes:
    """Return a result that tells of which call it is; some are large, so that kills fall into the middle of them."""
    return b"%d:" % n + bytes(300_000 if n % 7 == 0 else n % 100)


def run(run_dir: str, first: int) -> None:
    """Compute numbers without end."""
    memoizer = BasicMemoizer(checkpoint_mode="task_exit", checkpoint_files=[])
    executor = ThreadPoolExecutor(max_threads=2)
    config = Config(executors=[executor], run_dir=run_dir, strategy="none", memoizer=memoizer)
    app = PythonApp(sized, data_flow_kernel=DataFlowKernel(config), cache=True)
    while True:
        futures = [app(n) for n in range(first, first + AT_ONCE)]
        for n, future in enumerate(futures, start=first):
            future.result()
            os.write(1, b"%d\n" % n)
        first += AT_ONCE


def main() -> None:
    """Fork runs as asked for, and say which process each is."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                run(sys.argv[1], int(line))
            finally:
                os._exit(1)
        os.write(1, b"started %d\n" % pid)
        os.waitpid(pid, 0)
        os.write(1, b"ended\n")


if __name__ == "__main__":
    # Under its real name, which is a part of the hash of its calls.
    from tests.live import killed_runs

    killed_runs.main()
