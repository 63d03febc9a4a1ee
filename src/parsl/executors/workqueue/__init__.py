"""The executor on Work Queue."""

from parsl.executors.workqueue.executor import WorkQueueExecutor

__all__ = ["WorkQueueExecutor"]
