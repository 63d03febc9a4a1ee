from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.serialize.concretes import (
    DillCallableSerializer,
    DillSerializer,
    PickleSerializer,
    ValueSerializer,
)
from tests.serialize.elsewhere import call_elsewhere

ALL = [PickleSerializer, ValueSerializer, DillSerializer, DillCallableSerializer]

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", ALL)
@given(value=plain)
def test_any_plain_value_survives(kind, value):
    back = kind().deserialize(kind().serialize(value))
    assert back == value
    assert type(back) is type(value)


def test_identifiers_are_apart_and_on_one_line():
    identifiers = [kind.identifier for kind in ALL]
    assert len(set(identifiers)) == len(ALL)
    assert not any(b"\n" in i for i in identifiers)


def test_identifiers_do_not_change():
    """Packed bytes outlive a release: in checkpoints, and on their way between two of them."""
    assert {kind.__name__: kind.identifier for kind in ALL} == {
        "PickleSerializer": b"01",
        "ValueSerializer": b"V1",
        "DillSerializer": b"02",
        "DillCallableSerializer": b"C2",
    }


def test_plain_pickle_takes_no_code():
    with pytest.raises((pickle.PicklingError, AttributeError)):
        PickleSerializer().serialize(lambda: 1)


@pytest.mark.parametrize("kind", [ValueSerializer, DillSerializer, DillCallableSerializer])
def test_code_by_value(kind):
    offset = 3
    function = kind().deserialize(kind().serialize(lambda x: x + offset))
    assert function(4) == 7


FACTOR = 2


def doubled(x):
    return x * FACTOR


def test_dill_for_code_takes_the_globals_along(monkeypatch):
    monkeypatch.setattr(doubled, "__module__", "__main__")
    packed = DillCallableSerializer().serialize(doubled)

    def unpack_and_call(packed):
        from parsl.serialize.concretes import DillCallableSerializer

        return DillCallableSerializer().deserialize(packed)(21)

    assert call_elsewhere(unpack_and_call, packed) == 42


@pytest.mark.parametrize("kind", ALL)
def test_garbage_raises(kind):
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        kind().deserialize(b"")
