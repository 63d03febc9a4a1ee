from __future__ import annotations

import pytest

from parsl.doctor.case import Case, Place
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import KubernetesProvider, LocalProvider, SlurmProvider
from parsl.providers.base import ExecutionProvider


class Odd(ExecutionProvider):
    label = "odd"
    status_polling_interval = 1

    def submit(self, command, tasks_per_node, job_name="x"):
        raise NotImplementedError

    def status(self, job_ids):
        return []

    def cancel(self, job_ids):
        return []


@pytest.mark.parametrize(
    ("provider", "place", "is_batch"),
    [
        (LocalProvider(), Place.HERE, False),
        (SlurmProvider(), Place.CLUSTER, True),
        (KubernetesProvider(image="x"), Place.CLOUD, False),
        (Odd(), Place.CLUSTER, False),
    ],
)
def test_place_of_blocks(provider, place, is_batch):
    case = Case(HighThroughputExecutor(provider=provider), "runs")
    assert (case.place, case.batch_system is provider) == (place, is_batch)


def test_threads_are_here():
    case = Case(ThreadPoolExecutor(label="t"), "runs")
    assert (case.place, case.provider, case.title) == (Place.HERE, None, "executor t: ThreadPoolExecutor")


def test_title_and_script_folder():
    case = Case(HighThroughputExecutor(label="h", provider=SlurmProvider()), "runs")
    assert case.title == "executor h: HighThroughputExecutor on SlurmProvider"
    assert case.script_dir == "runs/NNN/submit_scripts"
    case.provider.script_dir = "/mine"
    assert case.script_dir == "/mine"
