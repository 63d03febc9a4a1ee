from __future__ import annotations

import pytest

from parsl.executors import HighThroughputExecutor


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"cores_per_worker": 0}, "cores_per_worker"),
        ({"cores_per_worker": -1.0}, "cores_per_worker"),
        ({"mem_per_worker": 0}, "mem_per_worker"),
        ({"max_workers_per_node": 0}, "max_workers_per_node"),
        ({"prefetch_capacity": -1}, "prefetch_capacity"),
        ({"heartbeat_period": 0}, "heartbeat_period"),
        ({"heartbeat_period": 30, "heartbeat_threshold": 30}, "heartbeat_threshold"),
        ({"drain_period": 0}, "drain_period"),
        ({"worker_port_range": (55000, 54000)}, "worker_port_range"),
        ({"worker_port_range": (0, 10)}, "worker_port_range"),
        ({"worker_port": 70000}, "worker_port"),
        ({"cpu_affinity": "blok"}, "cpu_affinity"),
        ({"cpu_affinity": "list:"}, "cpu_affinity"),
    ],
)
def test_a_value_out_of_range_is_told_with_the_name_of_the_parameter(options, name):
    with pytest.raises(ValueError, match=rf"parameter '{name}'.*but got"):
        HighThroughputExecutor(**options)


def test_the_two_ports_of_earlier_releases_are_taken_with_a_warning():
    with pytest.warns(DeprecationWarning, match="worker_ports"):
        executor = HighThroughputExecutor(worker_ports=(51234, 51235))
    assert executor.worker_port == 51234
