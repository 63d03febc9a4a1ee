from __future__ import annotations

import pytest

from parsl.serialize.base import SerializerBase


class Plain(SerializerBase):
    def serialize(self, data):
        return data

    def deserialize(self, payload):
        return payload


class Named(Plain):
    identifier = b"named"


class Child(Named):
    pass


class Outer:
    class Inner(Plain):
        pass


@pytest.mark.parametrize(
    ("kind", "identifier"),
    [
        (Plain, f"{__name__} Plain"),
        (Named, "named"),
        (Child, f"{__name__} Child"),
        (Outer.Inner, f"{__name__} Outer.Inner"),
    ],
)
def test_a_serializer_without_an_identifier_is_named_by_its_place(kind, identifier):
    assert kind.identifier == identifier.encode()
    assert b"\n" not in kind().identifier


def test_both_directions_have_to_be_there():
    class Half(SerializerBase):
        def serialize(self, data):
            return b""

    with pytest.raises(TypeError, match="deserialize"):
        Half()
