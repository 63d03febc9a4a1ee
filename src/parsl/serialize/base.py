"""The contract of a serializer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class SerializerBase(ABC):
    """Turns objects into bytes and back; users register their own with `parsl.serialize.facade`.

    A subclass without an `identifier` of its own gets one from its module and class name, by which the receiving
    process imports it; such a class must be made without arguments.

    Attributes:
        identifier: the bytes that name the serializer in front of what it wrote; without line feed.
    """

    identifier: bytes

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "identifier" not in cls.__dict__:
            cls.identifier = f"{cls.__module__} {cls.__qualname__}".encode()

    @abstractmethod
    def serialize(self, data: Any) -> bytes:
        """Return bytes from which `deserialize` makes an equal object; raise whatever fits if that cannot be."""

    @abstractmethod
    def deserialize(self, payload: bytes) -> Any:
        """Return the object that was serialized as `payload` (without the identifier)."""
