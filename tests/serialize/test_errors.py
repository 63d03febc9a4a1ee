from __future__ import annotations

import pickle

import pytest

from parsl.errors import ParslError
from parsl.serialize.errors import DeserializationError, DeserializerPluginError, SerializationError

ERRORS = [
    (SerializationError("argument 0.lock"), "fname", "argument 0.lock", "argument 0.lock cannot be serialized"),
    (DeserializationError("why"), "reason", "why", "Failed to deserialize: why"),
    (DeserializerPluginError(b"xyz"), "header", b"xyz", "header b'xyz'"),
]


@pytest.mark.parametrize(("error", "attribute", "value", "words"), ERRORS)
def test_text_and_attributes(error, attribute, value, words):
    assert isinstance(error, ParslError)
    assert getattr(error, attribute) == value
    assert words in str(error)


@pytest.mark.parametrize(("error", "attribute", "value", "words"), ERRORS)
def test_they_travel(error, attribute, value, words):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert getattr(back, attribute) == value


def test_a_serialization_error_says_what_to_do():
    assert "create the object (a lock, an open file, a connection) inside the app" in str(SerializationError("x"))
