"""What an executor and the process that holds its engine's manager tell each other."""

from __future__ import annotations

import msgspec


class Transfer(msgspec.Struct, array_like=True):
    """A file that the engine brings to a task, or from it.

    Attributes:
        local: its path on the submitting side.
        remote: its name in the task's folder.
        cache: whether workers may keep it for other tasks.
    """

    local: str
    remote: str
    cache: bool = False


class Task(msgspec.Struct, array_like=True, tag=True):
    """One call for the engine.

    Attributes:
        number: the executor's number of it.
        call: the packed call; empty when it lies in the file `call_path`.
        call_path: a file with the packed call, or empty.
        result_path: where the answer is to appear.
        category: tasks of one category are taken to need alike.
        resources: the resource specification.
        inputs: files to bring to the task.
        outputs: files to bring back.
    """

    number: int
    call: bytes
    call_path: str
    result_path: str
    category: str
    resources: dict[str, float]
    inputs: list[Transfer]
    outputs: list[Transfer]


class Cancel(msgspec.Struct, array_like=True, tag=True):
    """Drop a task, if it has not started."""

    number: int


class Stop(msgspec.Struct, array_like=True, tag=True):
    """End the manager."""


class Ready(msgspec.Struct, array_like=True, tag=True):
    """The manager listens on this port."""

    port: int


class Refused(msgspec.Struct, array_like=True, tag=True):
    """The manager did not start, for this reason."""

    reason: str


class End(msgspec.Struct, array_like=True, tag=True):
    """How a task ended for the engine.

    Attributes:
        number: the executor's number of it.
        result: the engine's word for it, in lower case: `success`, `resource exhaustion`, `max retries`.
        status: exit code of the task's command; that of a process ended by signal N is -N or 128 + N.
        detail: more on a failure: the resources exceeded, the last words of the command.
    """

    number: int
    result: str
    status: int
    detail: str = ""


class Ends(msgspec.Struct, array_like=True, tag=True):
    """The tasks that have ended since the last message."""

    ends: list[End]


class Cancelled(msgspec.Struct, array_like=True, tag=True):
    """Whether a task was dropped."""

    number: int
    done: bool


class ManagerConfig(msgspec.Struct):
    """What the process of the engine's manager is told at its start.

    Attributes:
        engine: import path of the class that drives the engine, `module:class`.
        label: the executor's label.
        folder: where logs and large calls go; exists.
        options: what the class is made with.
        project: whether the engine tells a catalogue of itself, which it has to do again and again.
    """

    engine: str
    label: str
    folder: str
    options: dict[str, object]
    project: bool = False


ToManager = Task | Cancel | Stop
FromManager = Ready | Refused | Ends | Cancelled
