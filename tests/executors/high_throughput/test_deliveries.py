from __future__ import annotations

from parsl.executors.high_throughput.deliveries import Deliveries
from parsl.executors.high_throughput.manager_record import ManagerRecord
from tests.executors.high_throughput.broker_fakes import register


def test_a_manager_is_owed_thanks_for_what_has_been_passed_on():
    deliveries, manager = Deliveries(), ManagerRecord(b"a", register(b"a"), 0)
    assert not deliveries.owed
    deliveries.came(manager, 1)
    deliveries.came(manager, 2)
    assert deliveries.waiting
    assert deliveries.owed
    assert deliveries.take_unthanked() == set()
    deliveries.passed_on()
    assert not deliveries.waiting
    assert manager.delivered == 2
    deliveries.came(manager, 3)
    assert manager.delivered == 2
    assert deliveries.take_unthanked() == {manager}
    assert deliveries.owed, "3 has not been passed on"


def test_who_was_told_otherwise_is_owed_nothing():
    deliveries, manager = Deliveries(), ManagerRecord(b"a", register(b"a"), 0)
    deliveries.came(manager, 1)
    deliveries.passed_on()
    deliveries.thanked(manager)
    assert not deliveries.owed
    assert deliveries.take_unthanked() == set()
