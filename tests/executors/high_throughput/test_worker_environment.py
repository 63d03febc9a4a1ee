"""What workers find in their environment."""

from __future__ import annotations

from argparse import Namespace

import pytest

from parsl.executors.high_throughput.worker_environment import WorkerEnvironment, installed_packages
from parsl.version import VERSION


def environment(workers=2, **options):
    defaults = {"available_accelerators": [], "cpu_affinity": "none", "block_id": "7", "debug": False, "uid": "m1"}
    return WorkerEnvironment(Namespace(**{**defaults, **options}), "/logs", workers)


def test_a_worker_knows_its_place():
    assert environment()(1) == {
        "PARSL_WORKER_RANK": "1",
        "PARSL_WORKER_COUNT": "2",
        "PARSL_WORKER_POOL_ID": "m1",
        "PARSL_WORKER_BLOCK_ID": "7",
        "PARSL_WORKER_LOGDIR": "/logs",
        "PARSL_WORKER_DEBUG": "0",
    }


def test_cores_and_accelerators_are_named():
    made = environment(available_accelerators=["gpu0", "gpu1"], cpu_affinity="list:0:0", debug=True)(1)
    assert made["PARSL_WORKER_CORES"] == "0"
    assert made["PARSL_WORKER_ACCELERATOR"] == "gpu1"
    assert made["PARSL_WORKER_DEBUG"] == "1"


@pytest.mark.parametrize("slot", [0, 1])
def test_what_a_worker_starts_is_known_by_variables_that_no_other_worker_has(slot):
    both = environment()
    marks = both.marks(slot)
    assert marks.items() <= both(slot).items()
    assert not marks.items() <= both(1 - slot).items()
    assert not marks.items() <= environment(uid="m2")(slot).items()


def test_packages_on_both_sides_can_be_compared():
    packages = installed_packages()
    assert packages["parsl"] == VERSION
    assert {"msgspec", "dill", "cloudpickle"} <= packages.keys()
