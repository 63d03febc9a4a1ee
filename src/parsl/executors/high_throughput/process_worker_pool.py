"""The program that runs on every node of a block: the manager between the interchange and the node's workers.

Started by the block's script as `python -m parsl.executors.high_throughput.process_worker_pool` with the options of
`parse_arguments`.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import socket
import sys
import uuid

from parsl.executors.high_throughput.file_limit import MANAGER_FILES, raise_file_limit
from parsl.executors.high_throughput.manager import Manager
from parsl.executors.high_throughput.worker_processes import adopt_orphans
from parsl.loop import Loop

logger = logging.getLogger(__name__)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line of a manager."""
    parser = argparse.ArgumentParser(prog="process_worker_pool.py", description="Run the workers of one node.")
    add = parser.add_argument
    add("-d", "--debug", action="store_true", help="log at debug level")
    add("-a", "--addresses", default="", help="addresses of the interchange, separated by commas")
    add("-l", "--logdir", default="process_worker_pool_logs", help="folder for logs")
    add("-u", "--uid", default=None, help="name of this manager; a random one by default")
    add("-b", "--block_id", default="", help="number of the block")
    add("-c", "--cores_per_worker", type=float, default=1.0, help="cores of each worker")
    add("-m", "--mem_per_worker", type=_none_or_float, default=None, help="gigabytes of each worker")
    add("-t", "--port", "--task_port", type=int, default=None, help="port of the interchange")
    add("-r", "--result_port", type=int, default=None, help="accepted for older launch commands, not used")
    add("--cert_dir", type=_none_or_text, default=None, help="folder of the CurveZMQ certificates")
    add("--max_workers_per_node", "--max_workers", type=float, default=math.inf, help="most workers")
    add("-p", "--prefetch_capacity", type=int, default=0, help="tasks to keep in stock")
    add("--hb_period", type=float, default=30, help="seconds between heartbeats")
    add("--hb_threshold", type=float, default=120, help="seconds of silence after which the interchange is gone")
    add("--drain_period", type=_none_or_float, default=None, help="seconds after which to drain and end")
    add("--address_probe_timeout", type=float, default=None, help="seconds to look for the interchange")
    add("--poll", type=float, default=None, help="accepted for older launch commands; nothing is polled")
    add("--cpu-affinity", default="none", help="how workers are pinned to cores")
    add("--available-accelerators", nargs="*", default=[], help="names of the accelerators")
    add("--enable_mpi_mode", action="store_true", help="tasks are MPI programs")
    add("--mpi-launcher", default="", help="how MPI programs are launched")
    add("--local-path", default="", help="file-system socket of the interchange, if it is on this node")
    add("--segments", default="", help="segment store of the client, if it is on this node")
    options = parser.parse_args(arguments)
    options.addresses = [a for a in options.addresses.split(",") if a]
    options.uid = options.uid or uuid.uuid4().hex[:12]
    return options


def _none_or_float(text: str) -> float | None:
    return None if text == "None" else float(text)


def _none_or_text(text: str) -> str | None:
    return None if text == "None" else text


def _could_not_start(error: Exception) -> int:
    """Say why, where it reaches the executor, and return the exit code."""
    logger.error("Could not start: %s", error)
    print(f"parsl manager on {socket.gethostname()} could not start: {error}", file=sys.stderr, flush=True)
    return 1


def main() -> None:
    """Run a manager with the options of the command line."""
    options = parse_arguments()
    logdir = os.path.join(os.path.abspath(options.logdir), f"block-{options.block_id}", options.uid)
    os.makedirs(logdir, exist_ok=True)
    from parsl.log_utils import set_file_logger

    set_file_logger(os.path.join(logdir, "manager.log"), level=logging.DEBUG if options.debug else logging.INFO)
    loop = Loop("manager")
    raise_file_limit(MANAGER_FILES)
    adopt_orphans()
    try:
        manager = Manager(options, logdir, loop)
    except (OSError, ValueError) as e:
        sys.exit(_could_not_start(e))
    signal.signal(signal.SIGCHLD, lambda *_: loop.post(manager.reap))
    signal.signal(signal.SIGTERM, lambda *_: loop.post(manager.end, "SIGTERM", 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        manager.start()
    except OSError as e:
        manager.exit_code = _could_not_start(e)
    else:
        loop.run()
    manager.close()
    sys.exit(manager.exit_code)


if __name__ == "__main__":
    from parsl.executors.high_throughput.process_worker_pool import main as _main

    _main()
