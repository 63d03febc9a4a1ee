"""The command that starts a manager in a block."""

from __future__ import annotations

import math
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.executors.high_throughput.executor import HighThroughputExecutor

DEFAULT_LAUNCH_CMD = (
    "{python} -m parsl.executors.high_throughput.process_worker_pool {debug} {max_workers_per_node} -a {addresses} "
    "-p {prefetch_capacity} -c {cores_per_worker} -m {mem_per_worker} --port={worker_port} --cert_dir {cert_dir} "
    "--logdir={logdir} --block_id={{block_id}} --hb_period={heartbeat_period} {address_probe_timeout_string} "
    "--hb_threshold={heartbeat_threshold} --drain_period={drain_period} --cpu-affinity {cpu_affinity} "
    "{enable_mpi_mode} --mpi-launcher={mpi_launcher} --available-accelerators {accelerators}"
)

# What the template may name and the executor has under the same name.
_OPTIONS = (
    "prefetch_capacity",
    "cores_per_worker",
    "mem_per_worker",
    "heartbeat_period",
    "heartbeat_threshold",
    "drain_period",
    "poll_period",
    "cpu_affinity",
    "mpi_launcher",
)


def manager_command(executor: HighThroughputExecutor, port: int, store: str) -> str:
    """Compose the command of an executor's managers, with `{block_id}` left to be put in.

    Args:
        executor: the executor; its `launch_cmd` is the template.
        port: where the interchange listens.
        store: folder of the segment store, which managers on this node share.
    """
    command = executor.launch_cmd.format(**_fields(executor, port))
    if executor.launch_cmd == DEFAULT_LAUNCH_CMD:
        command += f" --local-path={store}/managers --segments={store}"
    return command


def _fields(executor: HighThroughputExecutor, port: int) -> dict[str, Any]:
    timeout = executor.address_probe_timeout
    workers = executor.max_workers_per_node
    most = f"--max_workers_per_node={workers}" if math.isfinite(workers) else ""
    return {
        **{name: getattr(executor, name) for name in _OPTIONS},
        "python": shlex.quote(sys.executable),
        "debug": "--debug" if executor.worker_debug else "",
        "max_workers_per_node": most,
        "max_workers": most,
        "addresses": ",".join(_addresses(executor.address)),
        "task_port": port,
        "result_port": port,
        "worker_port": port,
        "logdir": shlex.quote(os.path.abspath(executor.worker_logdir)),
        "cert_dir": shlex.quote(executor.cert_dir) if executor.cert_dir else None,
        "address_probe_timeout_string": f"--address_probe_timeout={timeout}" if timeout else "",
        "enable_mpi_mode": "--enable_mpi_mode" if executor.enable_mpi_mode else "",
        "accelerators": " ".join(map(shlex.quote, executor.available_accelerators)),
        "block_id": "{block_id}",
        "nodes_per_block": executor.provider.nodes_per_block if executor.provider is not None else 1,
    }


def _addresses(address: str | None) -> list[str]:
    if address is not None:
        return [address]
    from parsl.addresses import get_all_addresses

    return sorted(get_all_addresses())
