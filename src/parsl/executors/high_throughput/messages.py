"""Every message of the pilot: between client, interchange, managers and workers.

Messages are msgspec Structs written as msgpack arrays with a number for a tag. Bodies (packed functions, arguments,
results) are opaque bytes that only client and worker open: nothing on the way unpickles anything.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

# Raised when a message changes its form; the interchange takes managers whose number lies in its range.
PROTOCOL_VERSION = 3
OLDEST_PROTOCOL = 3


# The interchange holds millions of the following. They refer to nothing that refers back to them, and the garbage
# collector, which would walk them all again and again, is told to leave them alone.


class Segment(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Large buffers that lie in a file of the node's segment store (see `segments`), one behind the other.

    Attributes:
        name: the file's name in the store, or `frame:<n>` while the buffers travel as a frame of the message.
        sizes: bytes of each buffer.
        writable: for each buffer, whether the object made of it must own memory that can be written.
    """

    name: str
    sizes: list[int]
    writable: list[bool]


class Payload(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A packed object: its body here, or in front of the buffers in the segment when `body` is empty."""

    body: bytes
    segment: Segment | None = None


class Task(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One call on its way to a worker.

    Attributes:
        id: number of the call in its executor.
        function: number of the function, whose body went before; 0 when `payload` is a whole apply message.
        payload: the packed arguments.
        resources: the resource specification, or None; with `walltime` (seconds) the call goes only to a manager whose
            block has so much time left.
    """

    id: int
    function: int
    payload: Payload
    resources: dict[str, Any] | None = None


class PlacedTask(Task, array_like=True, frozen=True):
    """What a worker reads: a call as it came to the manager, or with what the manager has added.

    Attributes:
        environment: a packed dict of variables to be set while the call runs; None for none.
    """

    environment: Payload | None = None


# How a call ended, as far as those on the way need to know.
DONE, RAISED, WORKER_LOST, MANAGER_LOST, CANCELLED, TIMED_OUT = range(6)


class Result(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The end of one call.

    Attributes:
        id: number of the call.
        status: DONE, RAISED, WORKER_LOST, MANAGER_LOST, CANCELLED, or TIMED_OUT when the call did not end in time and
            its worker was ended.
        payload: the packed result or exception; for what was lost or took too long, an encoded `Loss`.
        seconds: how long the call ran in its worker.
        usage: what it used there, packed for monitoring; empty without.
    """

    id: int
    status: int
    payload: Payload
    seconds: float = 0.0
    usage: bytes = b""


class Loss(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the result of a lost call says in place of a packed object.

    Attributes:
        what: number of the worker, or identity of the manager.
        hostname: where it ran.
        cause: how it ended, in words.
        where: host, block and log, in words.
        stack: what it was doing, innermost call first; empty where that is not known.
        asked_for: whether the task itself has asked for the end of its worker.
    """

    what: str
    hostname: str
    cause: str = ""
    where: str = ""
    stack: str = ""
    asked_for: bool = False


def lost(task_id: int, status: int, loss: Loss) -> Result:
    """Make the result of a call that was lost with its worker or manager."""
    return Result(task_id, status, Payload(msgspec.msgpack.encode(loss)))


def read_loss(payload: Payload) -> Loss:
    """Read what was lost."""
    return msgspec.msgpack.decode(payload.body, type=Loss)


class _Message(msgspec.Struct, array_like=True, tag=True):
    pass


# -- client to interchange ---------------------------------------------------------------------------------------------


class Submit(_Message, tag=1):
    """Calls to run; `functions` are bodies not sent before, `forget` numbers of functions that are gone."""

    tasks: list[Task]
    functions: dict[int, bytes]
    forget: list[int]


class Hold(_Message, tag=2):
    """Give a manager no further task."""

    manager: str


class Cancel(_Message, tag=3):
    """Drop these calls wherever they are, and stop those that run if `stop`; from the client, and on to managers.

    The answer is the end of each: cancelled, unless it came to another end.
    """

    tasks: list[int]
    stop: bool


class Query(_Message, tag=4):
    """Ask the interchange for something by name; answered by `Answer`."""

    query: int
    what: str


class Stop(_Message, tag=5):
    """End, and tell all managers to end."""


class Drain(_Message, tag=23):
    """Empty a block: give none of its managers a further task, also those that register later, and tell each that has
    none left to end; answered by `Emptied`.
    """  # noqa: D205 - one sentence

    block: str


# -- interchange to client ---------------------------------------------------------------------------------------------


class Results(_Message, tag=7):
    """Ends of calls; from a manager, also how many more calls it wants (`credit`, absolute), and the message's number.

    A manager numbers those of its messages that hold results, from 1, and keeps them until the number is told to be
    received: what an interchange had not passed on when it died is sent to the next one.
    """

    results: list[Result]
    credit: int = 0
    number: int = 0


class Managers(_Message, tag=8):
    """Managers that came or changed, and the identities of those that went."""

    managers: list[ManagerView]
    gone: list[str]


class Answer(_Message, tag=9):
    """The answer to a `Query`."""

    query: int
    body: Any


class Trouble(_Message, tag=10):
    """Something that the executor must know.

    `kind` is 'version' (a manager of another version was refused) or 'files' (the interchange may not open enough files
    for the managers that connect).
    """

    kind: str
    text: str


class Monitoring(_Message, tag=11):
    """A monitoring message of a manager or worker, passed on unread."""

    body: bytes


class Held(_Message, tag=32):
    """A manager that was known before has come back; these are the calls that it has, or whose results it keeps."""

    manager: str
    tasks: list[int]


class Emptied(_Message, tag=24):
    """A block that was to be drained has no task and gets none: nothing is lost with it any more."""

    block: str


# -- manager to interchange --------------------------------------------------------------------------------------------


class Register(_Message, tag=12):
    """A manager presents itself; `uid` is its name from now on.

    `seconds_left` is how long its block lasts, less a margin, or None where that is not known: a span, since clocks of
    hosts differ. `tasks` are the calls that it has, or whose results it keeps, when it has been registered before.
    """

    uid: str
    protocol: int
    block_id: str
    hostname: str
    workers: int
    capacity: int
    python_version: str
    parsl_version: str
    segments: str
    token: str
    pid: int
    seconds_left: float | None = None
    packages: dict[str, str] = {}
    tasks: list[int] | None = None


class Heartbeat(_Message, tag=13):
    """Still here."""


class Draining(_Message, tag=14):
    """The manager wants no further task, ends when it has none, and says so with the last."""


class Leaving(_Message, tag=22):
    """The manager ends now, and the calls that it has with it."""

    reason: str


class Located(_Message, tag=34):
    """What the manager knows of a call: the answer to `Locate`, as plain values; nothing where it has it no more."""

    question: int
    facts: dict[str, Any]


# -- interchange to manager --------------------------------------------------------------------------------------------


class Registered(_Message, tag=15):
    """The manager is taken in; what its workers need to look like the user's script.

    With `monitoring`, what calls use is measured, and sampled each so many seconds (0: only at the end).
    """

    sys_path: list[str]
    shares_segments: bool
    segments: str
    monitoring: float | None = None


class Tasks(_Message, tag=16):
    """Calls to run, with the bodies of functions that this manager has not been sent before.

    `received` is the number of the last `Results` that have reached the client.
    """

    tasks: list[Task]
    functions: dict[int, bytes]
    forget: list[int]
    received: int = 0


class Locate(_Message, tag=33):
    """Say what a call of the manager's waits for; answered by `Located`."""

    question: int
    task: int


class Received(_Message, tag=30):
    """The `Results` up to this number have reached the client."""

    number: int


class Reintroduce(_Message, tag=31):
    """The interchange does not know the manager, which is to register (anew)."""


class Drained(_Message, tag=17):
    """The interchange has nothing more for a draining manager, which may end."""


class Refused(_Message, tag=18):
    """The manager cannot be taken in, and must end."""

    reason: str


# -- manager and worker ------------------------------------------------------------------------------------------------


class Setup(_Message, tag=19):
    """The first message to a worker: what it needs to look like the user's script, and where things lie."""

    sys_path: list[str]
    segments: str
    functions: str
    claims: str
    slot: int
    owner: str
    monitoring: bool = False


class WorkerReady(_Message, tag=20):
    """A worker has started and takes tasks."""


class WorkerDone(_Message, tag=21):
    """A worker has ended a call."""

    result: Result


# -- described to the client -------------------------------------------------------------------------------------------


class ManagerView(msgspec.Struct, array_like=True):
    """What the client is told of a manager; the fields are the entries of `connected_managers()`."""

    manager: str
    block_id: str
    worker_count: int
    tasks: int
    idle_duration: float
    active: bool
    draining: bool
    parsl_version: str
    python_version: str
    hostname: str
    process_id: int
    capacity: int
    packages: dict[str, str] = {}


FromClient = Submit | Hold | Drain | Cancel | Query | Stop | Heartbeat
ToClient = Results | Managers | Held | Emptied | Answer | Trouble | Monitoring | Heartbeat
FromManager = Register | Results | Heartbeat | Draining | Leaving | Monitoring | Located
ToManager = Registered | Tasks | Cancel | Locate | Received | Reintroduce | Heartbeat | Drained | Refused | Stop

FromWorker = WorkerReady | WorkerDone | Monitoring

M = TypeVar("M")


def _plain(value: Any) -> Any:
    """Write what is a kind of number or text, such as a number of numpy, as plain number or text."""
    for kind in (float, int, str):
        if isinstance(value, kind):
            return kind(value)
    msg = f"{value!r} of type {type(value).__name__} is no plain value"
    raise TypeError(msg)


class Codec(Generic[M]):
    """Writes messages, and reads those of one direction.

    Args:
        kinds: union of the message classes that may be read.
    """

    def __init__(self, kinds: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(kinds)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain)

    def encode(self, message: Any) -> bytes:
        """Return the bytes of a message.

        Raises:
            TypeError: when a resource specification or an answer holds an object that is no plain value.
            OverflowError: when an integer does not fit into 64 bits.
        """
        return self._encoder.encode(message)

    def decode(self, data: Any) -> M:
        """Return the message in `data`.

        Raises:
            msgspec.DecodeError: when it is none of this direction.
        """
        try:
            return self._decoder.decode(data)  # type: ignore[no-any-return]  # of the kinds that it was made for
        except (UnicodeDecodeError, RecursionError) as e:
            raise msgspec.DecodeError(f"{type(e).__name__}: {e}") from e


def from_client() -> Codec[FromClient]:
    """Codec of what the client sends."""
    return Codec(FromClient)


def to_client() -> Codec[ToClient]:
    """Codec of what the client receives."""
    return Codec(ToClient)


def from_manager() -> Codec[FromManager]:
    """Codec of what managers send."""
    return Codec(FromManager)


def to_manager() -> Codec[ToManager]:
    """Codec of what managers receive."""
    return Codec(ToManager)
