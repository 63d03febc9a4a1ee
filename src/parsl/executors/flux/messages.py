"""Every message between the executor and its process in the Flux instance. Calls and results are opaque bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from parsl.executors.flux import TaskResult


class _Message(msgspec.Struct, array_like=True, tag=True):
    pass


# -- executor to instance ----------------------------------------------------------------------------------------------


class Setup(_Message, tag=1):
    """What the instance needs before the first call: where jobs look for modules, and arguments for Flux."""

    path: tuple[str, ...]
    flux_executor_kwargs: dict[str, Any]


class Run(_Message, tag=2):
    """A call to run as a job; the packed call itself is the next frame."""

    number: int
    resources: dict[str, int]


class Drop(_Message, tag=3):
    """Cancel the job of a call that has not started; answered by `Dropped`."""

    number: int


class Stop(_Message, tag=4):
    """Cancel all jobs and end."""


class Ping(_Message, tag=5):
    """Nothing; sent to learn whether it can be."""


# -- instance to executor ----------------------------------------------------------------------------------------------


class Hello(_Message, tag=10):
    """The instance is there; `trouble` says why it can run nothing, and is empty otherwise."""

    host: str
    process: int
    trouble: str = ""


class Started(_Message, tag=11):
    """The job of a call runs."""

    number: int


class Ended(_Message, tag=12):
    """The job of a call has ended; its `TaskResult` is in the next frame, or `trouble` says why there is none."""

    number: int
    trouble: str = ""


class Dropped(_Message, tag=13):
    """Whether the job of a call was cancelled before it started."""

    number: int
    done: bool


class Bye(_Message, tag=14):
    """The instance ends, for a reason."""

    reason: str


ToInstance = Setup | Run | Drop | Stop | Ping
ToExecutor = Hello | Started | Ended | Dropped | Bye

_encoder = msgspec.msgpack.Encoder()
_to_instance: msgspec.msgpack.Decoder[ToInstance] = msgspec.msgpack.Decoder(ToInstance)
_to_executor: msgspec.msgpack.Decoder[ToExecutor] = msgspec.msgpack.Decoder(ToExecutor)


def encode(message: ToInstance | ToExecutor) -> bytes:
    """Encode a message."""
    return _encoder.encode(message)


def for_instance(data: bytes) -> ToInstance:
    """Decode a message that the executor has sent."""
    return _to_instance.decode(data)


def for_executor(data: bytes) -> ToExecutor:
    """Decode a message that the instance has sent."""
    return _to_executor.decode(data)


class CallFile(msgspec.Struct, array_like=True):
    """What the job of a call reads: where to look for modules, and the packed call."""

    path: tuple[str, ...]
    call: bytes


def write_result(result: TaskResult) -> bytes:
    """Encode how a function ended."""
    return _encoder.encode(result)


def read_result(data: bytes) -> TaskResult:
    """Decode what `write_result` has made."""
    return msgspec.msgpack.decode(data, type=TaskResult)
