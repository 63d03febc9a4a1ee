"""The serializers that come with the package."""

from __future__ import annotations

import pickle
from typing import Any

from parsl.serialize import pickling
from parsl.serialize.base import SerializerBase


class PickleSerializer(SerializerBase):
    """Plain `pickle`: fastest, for data whose classes can be imported on both sides."""

    identifier = b"01"

    def serialize(self, data: Any) -> bytes:
        """Return the pickle of `data`."""
        return pickle.dumps(data, pickling.PROTOCOL)

    def deserialize(self, body: bytes) -> Any:
        """Return the object in a pickle."""
        return pickle.loads(body)  # noqa: S301 - reached only with bytes from a peer that holds the run's keys


class ValueSerializer(PickleSerializer):
    """The default for data and code: `pickle` with functions and classes of the script by value (cloudpickle)."""

    identifier = b"V1"

    def serialize(self, data: Any) -> bytes:
        """Return the pickle of `data`, code included."""
        return pickling.dumps(data)


class DillSerializer(SerializerBase):
    """`dill`: slower, for some objects that the others refuse."""

    identifier = b"02"

    def serialize(self, data: Any) -> bytes:
        """Return the dill of `data`."""
        import dill

        dilled: bytes = dill.dumps(data)
        return dilled

    def deserialize(self, body: bytes) -> Any:
        """Return the object in a dill."""
        import dill

        return dill.loads(body)  # noqa: S301 - from a peer that holds the run's keys  # noqa: S301 - see above


class DillCallableSerializer(DillSerializer):
    """`dill` for functions, with the globals that they use by value."""

    identifier = b"C2"

    def serialize(self, data: Any) -> bytes:
        """Return the dill of a function."""
        import dill

        dilled: bytes = dill.dumps(data, recurse=True)
        return dilled
