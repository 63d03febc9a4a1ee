"""Machines of Amazon's EC2. The script runs on a machine that they can connect to, best in the same network."""

from __future__ import annotations

from parsl.config import Config
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD, HighThroughputExecutor
from parsl.providers.aws.aws import AWSProvider


def fresh_config() -> Config:
    """Return a new configuration."""
    return Config(
        executors=[
            HighThroughputExecutor(
                label="aws",
                address="YOUR_ADDRESS",  # of this host, as the machines see it
                launch_cmd=DEFAULT_LAUNCH_CMD.replace("{python}", "python3"),  # the image's own, not this host's
                worker_logdir_root="/tmp",  # noqa: S108 - on the machine
                # The machines do not see the folder with the keys; let their security group admit nobody else.
                encrypted=False,
                provider=AWSProvider(
                    image_id="YOUR_IMAGE",  # an AMI with cloud-init, and the same Python and parsl as here
                    key_name="YOUR_KEY_PAIR",
                    region="us-east-2",
                    instance_type="t3.medium",
                    init_blocks=1,
                    max_blocks=2,
                    worker_init="",
                ),
            )
        ],
        retries=1,
    )


config = fresh_config()
