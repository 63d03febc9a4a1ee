"""Pods of a Kubernetes cluster. The script runs in a pod too, or anywhere that pods can connect to."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD, HighThroughputExecutor
from parsl.providers.kubernetes.kube import KubernetesProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="kubernetes",
                address="YOUR_ADDRESS",  # of this host, as pods see it
                max_workers_per_node=2,
                launch_cmd=DEFAULT_LAUNCH_CMD.replace("{python}", "python3"),  # the image's own, not this host's
                worker_logdir_root="/tmp",  # noqa: S108 - in the pod
                # Pods do not see the folder with the keys; keep the network between them and this host to yourself.
                encrypted=False,
                provider=KubernetesProvider(
                    image="YOUR_IMAGE",  # with the same Python and parsl as here
                    namespace="default",
                    init_blocks=1,
                    max_blocks=4,
                    init_cpu=2,
                    max_cpu=2,
                    init_mem="1Gi",
                    max_mem="2Gi",
                ),
            )
        ],
        retries=1,
    )


config = fresh_config()
