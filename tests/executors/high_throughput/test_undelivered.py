from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput.messages import DONE, Payload, Result
from parsl.executors.high_throughput.undelivered import Undelivered


def result(number):
    return Result(number, DONE, Payload(b""))


def test_results_are_kept_until_they_have_arrived():
    kept = Undelivered()
    assert [kept.add([result(7), result(8)]), kept.add([result(9)])] == [1, 2]
    assert kept.calls == [7, 8, 9]
    assert kept.received(0) == []
    assert kept.received(1) == [result(7), result(8)]
    assert kept.batches == [(2, [result(9)])]
    assert kept.received(2) == [result(9)]
    assert kept.received(2) == []
    assert kept.add([]) == 3


@given(sizes=st.lists(st.integers(0, 3)), told=st.lists(st.integers(0, 12)))
def test_each_result_is_kept_or_has_arrived(sizes, told):
    kept, numbers, arrived = Undelivered(), iter(range(100)), []
    sent = []
    for size in sizes:
        batch = [result(next(numbers)) for _ in range(size)]
        kept.add(batch)
        sent += batch
    for number in told:
        arrived += kept.received(number)
    assert [r.id for r in arrived] + kept.calls == [r.id for r in sent]
    assert len(kept.batches) == max(0, len(sizes) - max(told, default=0))
