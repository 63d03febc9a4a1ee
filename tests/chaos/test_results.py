"""Results that no receiver should die of: gigantic ones, and those for which there is no room."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl.app.app import python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.high_throughput.errors import WorkerLost
from tests.chaos.report import chaos_report
from tests.live import pilot

GIGANTIC = 2**31 + 12345

# Of the object itself, its copy in shared memory and the one that arrives, with room for others on the machine.
NEEDED = 4 * GIGANTIC

PATIENCE = 120


def roomy() -> bool:
    import psutil

    room = os.statvfs("/dev/shm")
    return psutil.virtual_memory().available > NEEDED and room.f_bavail * room.f_frsize > NEEDED


@pytest.fixture(params=["shared memory", "another node"])
def dfk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DataFlowKernel]:
    options = {} if request.param == "shared memory" else {"launch_cmd": pilot.OVER_TCP}
    with pilot.kernel(tmp_path, pilot.htex(max_workers_per_node=1, **options)) as kernel:
        yield kernel


def zeros(size: int) -> bytes:
    return bytes(size)


@pytest.mark.slow
@pytest.mark.skipif(not roomy(), reason=f"takes {NEEDED / 1e9:.0f} GB of memory, and of /dev/shm")
def test_a_result_of_two_gigabytes_arrives_and_other_tasks_too(
    dfk: DataFlowKernel, request: pytest.FixtureRequest
) -> None:
    give, me = python_app(zeros, data_flow_kernel=dfk), python_app(os.getpid, data_flow_kernel=dfk)
    worker = me().result(pilot.SOON)
    client = dfk.executors["htex"]._client
    before = set(os.listdir(client.store.folder))
    begin = time.monotonic()
    gigantic, small = give(GIGANTIC), give(3)
    assert len(gigantic.result(PATIENCE)) == GIGANTIC
    seconds = time.monotonic() - begin
    assert small.result(PATIENCE) == bytes(3)
    assert me().result(pilot.SOON) == worker
    assert not any("-f" not in n for n in set(os.listdir(client.store.folder)) - before), "something stays in memory"
    way = "on the same node" if "shared" in request.node.name else "from another node"
    chaos_report(f"result of 2 GB {way}", "the result", seconds)


def test_half_a_result_goes_with_its_worker(dfk: DataFlowKernel) -> None:
    def die_while_writing(size: int) -> bytes:
        import resource
        import signal

        # The system kills who writes more than it may.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
        return bytes(size)

    me = python_app(os.getpid, data_flow_kernel=dfk)
    me().result(pilot.SOON)
    # That of the script, or the manager's own.
    makers = tuple(f"parsl-{pid}-" for pid in (os.getpid(), pilot.manager_of(dfk.executors["htex"]).pid))
    stores = [f for f in os.scandir("/dev/shm") if f.name.startswith(makers)]
    assert stores
    error = python_app(die_while_writing, data_flow_kernel=dfk)(2**22).exception(pilot.SOON)
    assert isinstance(error, WorkerLost)
    assert error.cause == "signal SIGXFSZ"
    assert me().result(pilot.SOON)
    left = [n for f in stores if os.path.isdir(f.path) for n in os.listdir(f.path) if n.endswith(".part")]
    assert left == []


def test_a_result_for_which_there_is_no_room_is_that_tasks_error_alone(dfk: DataFlowKernel) -> None:
    def give(size: int, most: int) -> bytes:
        import resource

        # What a full disk, or full shared memory, looks like from within.
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        return bytes(size)

    app = python_app(give, data_flow_kernel=dfk)
    fitting, large, after = app(2**20, 2**21), app(2**22, 2**21), app(2**20, 2**21)
    begin = time.monotonic()
    error = large.exception(pilot.SOON)
    assert isinstance(error, OSError)
    assert "no room for 4194" in str(error)
    assert f"task {large.tid} on " in error.__notes__[0]
    assert fitting.result(pilot.SOON) == after.result(pilot.SOON) == bytes(2**20)
    chaos_report("no room for a result", "`OSError` (no room) in that task", time.monotonic() - begin)
