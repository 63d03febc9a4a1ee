"""Single nodes with four GPUs from Slurm, a worker for each GPU, which is all that it sees."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.providers.slurm.slurm import SlurmProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="slurm_gpus",
                available_accelerators=4,  # each worker finds its own in CUDA_VISIBLE_DEVICES
                cpu_affinity="block",  # and keeps to its part of the cores
                provider=SlurmProvider(
                    partition="YOUR_PARTITION",
                    account="YOUR_ACCOUNT",
                    gpus_per_node=4,
                    init_blocks=1,
                    max_blocks=2,
                    walltime="01:00:00",
                    worker_init="",  # such as "module load cuda"
                ),
            )
        ],
        retries=1,
    )


config = fresh_config()
