"""A script whose two managers run on hosts of their own: started by `test_network.py` on a third.

It says on standard output what has come about, a line each, and is told on standard input to go on.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import psutil

from parsl.app.app import python_app
from tests.live import pilot


def where(gate: str, left: str) -> str:
    """Wait at a gate, leave a sign, and say on which host that was."""
    pilot.wait_at(gate)
    with open(left, "a") as file:
        file.write(f"{socket.gethostname()}\n")
    return socket.gethostname()


def say(*words: Any) -> None:
    """Tell the test something, and wait until it says to go on."""
    print(*words, flush=True)
    sys.stdin.readline()


def main() -> None:
    """Run a task on each of two hosts, as often as the test wants."""
    run_dir, netns, address = sys.argv[1:4]
    folder = Path(run_dir)
    # Blocks 0 and 1 are the hosts 2 and 3.
    launch = f"bash {shlex.quote(netns)} exec $(({{{{block_id}}}} + 2)) {pilot.OVER_TCP}"
    executor = pilot.htex(
        address=address,
        launch_cmd=launch,
        max_workers_per_node=1,
        provider=pilot.provider(init_blocks=2, max_blocks=2),
        heartbeat_period=1,
        heartbeat_threshold=3,
        block_error_handler=False,
    )
    with pilot.kernel(folder, executor) as kernel:
        app = python_app(where, data_flow_kernel=kernel)
        gate, left = os.path.join(run_dir, "gate"), os.path.join(run_dir, "left")
        pilot.wait_for(lambda: len(executor.connected_managers()) == 2)
        first = [app(gate, left) for _ in range(2)]
        pilot.wait_for(lambda: pilot.running(executor, 2))
        say("running")
        print(*sorted(f.result(60) for f in first), flush=True)
        second = [app(gate, left) for _ in range(2)]
        pilot.wait_for(lambda: pilot.running(executor, 2))
        managers = {m["hostname"]: psutil.Process(m["process_id"]) for m in executor.connected_managers()}
        say("running again")
        pilot.wait_for(lambda: len(executor.connected_managers()) == 1)
        say("cut off")
        print(*sorted(f.result(60) for f in second), flush=True)
        say("done")
        # The link is there again.
        print("stopped" if not pilot.still_there([managers["h2"]], 20) else "still there", flush=True)
        print(app(gate, left).result(60), flush=True)


if __name__ == "__main__":
    main()
