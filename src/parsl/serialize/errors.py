"""Exceptions of packing objects for a journey between processes."""

from __future__ import annotations

from parsl.errors import ParslError


class SerializationError(ParslError):
    """An object cannot be packed.

    Args:
        fname: what could not be packed: the name of a function, or a description with the offending object.
    """

    def __init__(self, fname: str) -> None:
        super().__init__(fname)
        self.fname = fname

    def __str__(self) -> str:
        return (
            f"{self.fname} cannot be serialized. What goes to a worker or comes back must be picklable: pass a plain "
            "value, or create the object (a lock, an open file, a connection) inside the app."
        )


class DeserializationError(ParslError):
    """Packed bytes cannot be turned back into an object.

    Args:
        reason: what went wrong.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"Failed to deserialize: {self.reason}"


class DeserializerPluginError(ParslError):
    """Packed bytes name a serializer that cannot be had here.

    Args:
        header: the identifier in front of the bytes.
    """

    def __init__(self, header: bytes) -> None:
        super().__init__(header)
        self.header = header

    def __str__(self) -> str:
        return f"No serializer is known for header {self.header!r}, and it does not name one that can be imported"
