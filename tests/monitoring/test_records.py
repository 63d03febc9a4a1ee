from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.monitoring import records
from parsl.monitoring.records import (
    Batch,
    Usage,
    WorkerFacts,
    decode,
    decode_short,
    decode_usage,
    encode,
    encode_short,
    encode_usage,
    join,
)


@given(st.lists(st.lists(st.tuples(st.integers(0, 11), st.text(), st.none() | st.floats(allow_nan=False)))))
def test_joined_batches_are_one_list_of_their_records(batches):
    joined = join([Batch(batch) for batch in batches])
    assert decode(joined) == [list(record) for batch in batches for record in batch]


@pytest.mark.parametrize("record", [(1, "\udc80"), (1, ["a\udc80"]), (1, {"\udc80": 2})])
def test_odd_names_are_escaped_and_cost_no_record(record):
    batch = Batch([(0, "before"), record, (2, "after")])
    found = decode(join([batch]))
    assert [r[0] for r in found] == [0, 1, 2]
    assert "\\udc80" in repr(found[1])


def test_a_usage_comes_back_as_it_was():
    usage = Usage(at=3.0, started=1.0, user=0.5, resident=2**40, status="running")
    assert decode_usage(encode_usage(usage)) == usage
    assert decode_short(encode_usage(usage)) is None


def test_a_short_usage_comes_back_as_it_was():
    facts = encode(WorkerFacts("0", "node", 7, 1, 2, 0.1))
    assert decode_short(encode_short(1.0, 2.0, 0.5, facts)) == (1.0, 2.0, 0.5, facts)


@pytest.mark.parametrize("data", [b"f", b"f\x93", b"f" + encode({"at": 1}), b"f" + encode([]), b"f" + encode([0] * 99)])
def test_what_is_no_usage_is_refused(data):
    with pytest.raises(msgspec.DecodeError):
        decode_usage(data)


def test_kinds_of_records_differ():
    names = [name for name in dir(records) if name[0] != "_" and type(getattr(records, name)) is int]
    kinds = {getattr(records, name) for name in names if name not in ("INPUT", "OUTPUT")}
    assert len(kinds) == len(names) - 2
