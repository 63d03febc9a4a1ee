from __future__ import annotations

import math
import os
from argparse import Namespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput.affinity import (
    accelerator_environment,
    pinned_environment,
    pinning,
    usable_cores,
    worker_count,
    workers_of_node,
)


@pytest.mark.parametrize(
    ("max_workers", "cores", "per_worker", "memory", "mem_per_worker", "accelerators", "workers"),
    [
        (math.inf, 8, 1, None, None, 0, 8),
        (math.inf, 8, 2, None, None, 0, 4),
        (math.inf, 8, 3, None, None, 0, 2),
        (math.inf, 1, 0.25, None, None, 0, 4),
        (math.inf, 1, 0.1, None, None, 0, 10),
        (math.inf, 7, 0.035, None, None, 0, 200),
        (math.inf, 2, 0.001, None, None, 0, 2000),
        (math.inf, 1, 4, None, None, 0, 1),
        (3, 8, 1, None, None, 0, 3),
        (2.0, 8, 1, None, None, 0, 2),
        (12, 8, 1, None, None, 0, 8),
        (math.inf, 8, 1, 10.0, 3.0, 0, 3),
        (math.inf, 8, 1, 0.3, 0.1, 0, 3),
        (math.inf, 8, 1, 1.0, 3.0, 0, 1),
        (math.inf, 8, 1, 10.0, None, 0, 8),
        (math.inf, 8, 1, None, 3.0, 0, 8),
        (math.inf, 8, 1, None, None, 2, 2),
        (math.inf, 2, 1, None, None, 4, 2),
        (3, 16, 4, 100.0, 10.0, 2, 2),
    ],
)
def test_worker_count_is_the_least_of_the_limits(
    max_workers, cores, per_worker, memory, mem_per_worker, accelerators, workers
):
    assert worker_count(max_workers, cores, per_worker, memory, mem_per_worker, accelerators) == workers


@given(
    st.integers(1, 100) | st.just(math.inf),
    st.integers(1, 256),
    st.floats(0.01, 64),
    st.none() | st.floats(0.1, 1e4),
    st.none() | st.floats(0.1, 1e4),
    st.integers(0, 16),
)
def test_worker_count_keeps_every_limit_but_gives_one_worker(
    max_workers, cores, per_worker, memory, mem_per_worker, accelerators
):
    count = worker_count(max_workers, cores, per_worker, memory, mem_per_worker, accelerators)
    assert isinstance(count, int)
    assert 1 <= count <= max_workers
    if count > 1:
        assert count * per_worker <= cores * (1 + 1e-6)
        assert not accelerators or count <= accelerators
        assert memory is None or mem_per_worker is None or count * mem_per_worker <= memory * (1 + 1e-6)


@pytest.mark.parametrize(
    ("strategy", "workers", "cores", "expected"),
    [
        ("none", 3, [0, 1], [[], [], []]),
        ("none", 1, [], [[]]),
        ("block", 2, [0, 1, 2, 3], [[0, 1], [2, 3]]),
        ("block", 2, [4, 5, 8, 9, 12], [[4, 5], [8, 9]]),
        ("block", 4, [0, 1], [[0], [1], [0], [1]]),
        ("block-reverse", 2, [0, 1, 2, 3], [[2, 3], [0, 1]]),
        ("block-reverse", 2, [0, 1, 2, 3, 4], [[3, 4], [1, 2]]),
        ("alternating", 2, [0, 1, 2, 3, 4], [[0, 2, 4], [1, 3]]),
        ("alternating", 3, [5, 6], [[5], [6], [5]]),
        ("list:0:1", 2, [0, 1], [[0], [1]]),
        ("list:3", 1, [0, 1, 2, 3], [[3]]),
        ("list:0,2:1,3:0", 2, [0, 1, 2, 3], [[0, 2], [1, 3]]),
        ("list:0-2:3", 2, [0, 1, 2, 3], [[0, 1, 2], [3]]),
        ("list:0-1,3:2-2", 2, [0, 1, 2, 3], [[0, 1, 3], [2]]),
    ],
)
def test_pinning(strategy, workers, cores, expected):
    assert pinning(strategy, workers, cores) == expected


@pytest.mark.parametrize(
    ("strategy", "workers", "cores", "words"),
    [
        ("blocks", 1, [0], "'blocks' is unknown: use 'none', 'block'"),
        ("", 1, [0], "unknown"),
        ("block", 1, [], "names none"),
        ("list:0", 2, [0, 1], "of 1 workers, but there are 2"),
        ("list:0:7", 2, [0, 1], r"cores \[7\], which this process may not use; it may use \[0, 1\]"),
        ("list:", 1, [0], "not of the form"),
        ("list:a", 1, [0], "not of the form"),
        ("list:0::1", 3, [0, 1], "not of the form"),
        ("list:2-0", 1, [0, 1, 2], "not of the form"),
        ("list:-1", 1, [0, 1], "not of the form"),
    ],
)
def test_pinning_that_cannot_be(strategy, workers, cores, words):
    with pytest.raises(ValueError, match=words):
        pinning(strategy, workers, cores)


@given(
    st.sampled_from(["block", "block-reverse", "alternating"]),
    st.integers(1, 20),
    st.sets(st.integers(0, 300), min_size=1, max_size=40).map(sorted),
)
def test_every_worker_has_cores_and_no_core_has_two_workers_unless_it_must(strategy, workers, cores):
    groups = pinning(strategy, workers, cores)
    assert len(groups) == workers
    assert all(group and set(group) <= set(cores) for group in groups)
    used = [core for group in groups for core in group]
    if workers <= len(cores):
        assert len(used) == len(set(used))
    else:
        assert set(used) == set(cores)


def test_usable_cores_are_those_of_the_cpuset():
    cores = usable_cores()
    assert cores == sorted(set(cores))
    if hasattr(os, "sched_getaffinity"):
        assert set(cores) == os.sched_getaffinity(0)
    else:
        assert len(cores) == os.cpu_count()


def test_environment_of_a_pinned_worker():
    assert pinned_environment([]) == {}
    assert pinned_environment([2, 5]) == {
        "OMP_NUM_THREADS": "2",
        "GOMP_CPU_AFFINITY": "2,5",
        "KMP_AFFINITY": "explicit,proclist=[2,5]",
    }


@pytest.mark.parametrize("name", ["0", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "0,1"])
def test_environment_of_a_worker_with_an_accelerator(name):
    environment = accelerator_environment(name)
    assert {environment[k] for k in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")} == {name}
    assert environment["ZE_ENABLE_PCI_ID_DEVICE_ORDER"] == "1"


# -- this node ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "most", "expected"),
    [
        ({}, math.inf, 6),
        ({}, 4, 4),
        ({"max_workers_per_node": 2}, 4, 2),
        ({"cores_per_worker": 3.0}, math.inf, 2),
        ({"mem_per_worker": 2.0}, math.inf, 5),
        ({"available_accelerators": ["a"]}, math.inf, 1),
    ],
)
def test_what_the_batch_system_grants_bounds_the_workers(monkeypatch, changes, most, expected):
    monkeypatch.setenv("PARSL_CORES", "6")
    monkeypatch.setenv("PARSL_MEMORY_GB", "10")
    options = {"max_workers_per_node": math.inf, "cores_per_worker": 1.0, "mem_per_worker": None}
    assert workers_of_node(Namespace(**{"available_accelerators": [], **options, **changes}), most) == expected


def test_without_a_batch_system_the_node_itself_does(monkeypatch):
    monkeypatch.delenv("PARSL_CORES", raising=False)
    monkeypatch.delenv("PARSL_MEMORY_GB", raising=False)
    options = {"cores_per_worker": 1.0, "mem_per_worker": 1e-9, "available_accelerators": []}
    cores = len(usable_cores())
    assert workers_of_node(Namespace(max_workers_per_node=math.inf, **options)) == cores
