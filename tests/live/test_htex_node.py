"""What a node makes of its options: how many workers, pinned where, with which accelerator, and in which order."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import pytest

from parsl.app.app import python_app
from parsl.executors.high_throughput.affinity import usable_cores
from parsl.executors.high_throughput.manager_selector import BlockIdManagerSelector, ManagerSelector
from tests.live import pilot


def describe(path: str) -> dict[str, object]:
    """Describe the worker, and have it wait for the others; runs on the worker."""
    pilot.wait_at(path)
    return {**os.environ, "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []}


def workers(kernel, gate, count: int) -> list[dict[str, object]]:
    """Return what each of `count` workers says of itself, by rank."""
    futures = [python_app(describe, data_flow_kernel=kernel)(gate.path) for _ in range(count)]
    gate.let(count)
    found = [f.result(pilot.SOON) for f in futures]
    return sorted(found, key=lambda w: w["PARSL_WORKER_RANK"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_workers_per_node": 3}, lambda: 3),
        ({"cores_per_worker": 0.5, "max_workers_per_node": None}, lambda: math.floor(len(usable_cores()) / 0.5)),
        ({"mem_per_worker": 1e9, "max_workers_per_node": 4}, lambda: 1),
        ({"available_accelerators": 3, "max_workers_per_node": 9}, lambda: 3),
        ({"available_accelerators": 3, "max_workers_per_node": 2}, lambda: 2),
    ],
)
def test_the_least_of_all_limits_decides_how_many_workers_there_are(
    tmp_path, gate, options, expected: Callable[[], int]
):
    with pilot.kernel(tmp_path, pilot.htex(**options)) as kernel:
        executor, count = kernel.executors["htex"], expected()
        pilot.wait_for(lambda: len(pilot.workers_of(executor)) == count)
        assert executor.connected_workers == executor.workers_per_node == count
        assert kernel.submit(os.getenv, ("PARSL_WORKER_COUNT",)).result(pilot.SOON) == str(count)


def test_workers_are_pinned_and_given_their_accelerators(tmp_path, gate):
    cores = usable_cores()
    listed = f"list:{cores[-1]}:{cores[0]}"
    executor = pilot.htex(cpu_affinity=listed, available_accelerators=["gpu-a", "gpu-b"])
    with pilot.kernel(tmp_path, executor) as kernel:
        # Several times, since one worker may start much earlier and take all.
        for _ in range(20):
            found = workers(kernel, gate, 2)
            if [w["PARSL_WORKER_RANK"] for w in found] == ["0", "1"]:
                break
        assert [w["cores"] for w in found] == [[cores[-1]], [cores[0]]]
        assert [w["OMP_NUM_THREADS"] for w in found] == ["1", "1"]
        for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"):
            assert [w[name] for w in found] == ["gpu-a", "gpu-b"]


def test_block_affinity_gives_each_worker_its_share(tmp_path, gate):
    cores = usable_cores()
    with pilot.kernel(tmp_path, pilot.htex(cpu_affinity="block", max_workers_per_node=1)) as kernel:
        (only,) = workers(kernel, gate, 1)
        assert only["cores"] == cores
        assert only["PARSL_WORKER_CORES"] == ",".join(map(str, cores))


def test_a_worker_that_takes_the_place_of_a_lost_one_has_its_cores_and_accelerator(tmp_path):
    executor = pilot.htex(cpu_affinity="block", available_accelerators=["only"], max_workers_per_node=1)
    with pilot.kernel(tmp_path, executor) as kernel:
        assert kernel.submit(os._exit, (1,)).exception(pilot.SOON) is not None
        for name, value in (("CUDA_VISIBLE_DEVICES", "only"), ("PARSL_WORKER_RANK", "0")):
            assert kernel.submit(os.getenv, (name,)).result(pilot.SOON) == value


# -- order -------------------------------------------------------------------------------------------------------------


def append(path: str, number: int) -> None:
    """Write a number down; runs on a worker."""
    with open(path, "a") as file:
        file.write(f"{number} ")


def order(kernel, gate, path, priorities, after_blocker=lambda: None) -> list[int]:
    """Have one worker run a task of each priority, all queued before the first begins; return the order they ran in."""
    note = python_app(append, data_flow_kernel=kernel)
    blocker = python_app(pilot.wait_at, data_flow_kernel=kernel)(gate.path)
    pilot.wait_for(lambda: pilot.running(kernel.executors["htex"], 1))
    after_blocker()
    futures = []
    for number, priority in enumerate(priorities):
        resources = {} if priority is None else {"parsl_resource_specification": {"priority": priority}}
        futures.append(note(str(path), number, **resources))
    pilot.wait_for(lambda: kernel.executors["htex"]._client.commands.run("OUTSTANDING_C") == len(futures) + 1)
    gate.let(1)
    assert blocker.result(pilot.SOON)
    assert [f.result(pilot.SOON) for f in futures] == [None] * len(futures)
    return [int(n) for n in path.read_text().split()]


def test_lower_priorities_run_first_and_equal_ones_in_the_order_of_their_calls(tmp_path, gate):
    with pilot.kernel(tmp_path, pilot.htex(max_workers_per_node=1)) as kernel:
        priorities = [None, 5, 1, 5, -2, 1, 0.5, None, 1]
        ran = order(kernel, gate, tmp_path / "ran", priorities)
        assert ran == sorted(range(9), key=lambda n: math.inf if priorities[n] is None else priorities[n])


def test_prefetched_tasks_wait_at_the_node(tmp_path, gate):
    with pilot.kernel(tmp_path, pilot.htex(max_workers_per_node=1, prefetch_capacity=3)) as kernel:
        executor = kernel.executors["htex"]
        wait_at = python_app(pilot.wait_at, data_flow_kernel=kernel)
        futures = [wait_at(gate.path) for _ in range(6)]
        pilot.wait_for(lambda: pilot.running(executor, 4))
        assert executor.connected_managers()[0]["capacity"] == 4
        assert executor._client.commands.run("OUTSTANDING_C") == 6
        gate.let(6)
        assert len({f.result(pilot.SOON) for f in futures}) == 1


class LastFirst(ManagerSelector):
    """Prefers the newest block; runs in the interchange."""

    def sort_managers(self, ready_managers, manager_list):
        return sorted(manager_list, key=lambda m: ready_managers[m]["block_id"], reverse=True)


class Broken(ManagerSelector):
    """Has a bug."""

    def sort_managers(self, ready_managers, manager_list):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("selector", "block"),
    [(BlockIdManagerSelector(), "0"), (LastFirst(), "1"), (Broken(), None)],
    ids=["block id", "own", "broken"],
)
def test_the_selector_decides_which_block_is_served_first(tmp_path, selector, block):
    executor = pilot.htex(manager_selector=selector, provider=pilot.provider(init_blocks=2, max_blocks=2))
    with pilot.kernel(tmp_path, executor) as kernel:
        pilot.wait_for(lambda: len(executor.connected_managers()) == 2)
        # One after another, so that both blocks are free each time.
        blocks = [kernel.submit(os.getenv, ("PARSL_WORKER_BLOCK_ID",)).result(pilot.SOON) for _ in range(5)]
        assert set(blocks) == {block} if block is not None else set(blocks) <= {"0", "1"}
