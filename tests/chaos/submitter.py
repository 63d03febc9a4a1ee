"""A script that is killed while its tasks run: started by `test_orphans.py`.

It says on standard output which processes it has, then waits for its tasks.
"""

from __future__ import annotations

import json
import sys
import time

import parsl
from parsl.app.app import python_app
from tests.live import pilot


def main() -> None:
    """Run tasks that do not end, on one block that has started and one that waits in the queue of its provider."""
    run_dir, queue = sys.argv[1:3]
    launch = f"cat {queue}; "
    waiting = pilot.htex(
        label="waiting", launch_cmd=launch + pilot.htex().launch_cmd, provider=pilot.provider(), worker_port=None
    )
    config = parsl.Config(executors=[pilot.htex(), waiting], strategy="none", run_dir=run_dir)
    with parsl.load(config) as kernel:
        htex = kernel.executors["htex"]
        futures = [python_app(time.sleep, executors=["htex"])(600) for _ in range(2)]
        pilot.wait_for(lambda: pilot.running(htex, 2))
        pids = [p.pid for p in pilot.everything_of(htex)]
        queued = [int(job) for job in kernel.executors["waiting"].blocks_to_job_id.values()]
        print(json.dumps([*pids, pilot.interchange_of(kernel.executors["waiting"]).pid, *queued]), flush=True)
        for future in futures:
            future.result()


if __name__ == "__main__":
    main()
