from __future__ import annotations

import pytest

from parsl.doctor.placeholders import check_placeholders, find_placeholders
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.launchers import SrunLauncher, WrappedLauncher
from parsl.providers import CondorProvider, KubernetesProvider, SlurmProvider
from tests.doctor.fakes import marks


def test_found_wherever_it_stands():
    provider = SlurmProvider(
        partition="YOUR_PARTITION",
        scheduler_options="#SBATCH --reservation=YOUR_RESERVATION --x=YOUR_X",
        launcher=SrunLauncher(overrides="-c YOUR_CORES"),
    )
    executor = HighThroughputExecutor(address="YOUR_ADDRESS", provider=provider)
    assert sorted(find_placeholders(executor)) == [
        ("address", "YOUR_ADDRESS"),
        ("provider.launcher.overrides", "YOUR_CORES"),
        ("provider.partition", "YOUR_PARTITION"),
        ("provider.scheduler_options", "YOUR_RESERVATION"),
        ("provider.scheduler_options", "YOUR_X"),
    ]


def test_found_in_lists_and_dictionaries():
    kube = KubernetesProvider(image="x", persistent_volumes=[("YOUR_CLAIM", "/data")])
    condor = CondorProvider(environment={"TOKEN": "YOUR_TOKEN"})
    assert list(find_placeholders(kube)) == [("persistent_volumes[0][0]", "YOUR_CLAIM")]
    assert list(find_placeholders(condor)) == [("environment['TOKEN']", "YOUR_TOKEN")]


@pytest.mark.parametrize("text", ["your_partition", "YOUR", "MY_PARTITION", "NOTYOUR_X", ""])
def test_other_words_are_none(text):
    assert not list(find_placeholders(SlurmProvider(partition=text)))


def test_executors_without_provider_have_none():
    assert not list(find_placeholders(ThreadPoolExecutor()))


def test_each_is_a_failure_with_a_way_to_find_the_real_one():
    found = list(check_placeholders(SlurmProvider(partition="YOUR_PARTITION", launcher=WrappedLauncher("YOUR_TOOL"))))
    assert marks(found) == [("FAIL", "placeholder")] * 2
    assert found[0].text == "partition: YOUR_PARTITION still stands here"
    assert "sinfo" in found[0].remedy
    assert "prepend" in found[1].remedy
