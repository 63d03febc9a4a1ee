from __future__ import annotations

import dataclasses
import socket
import threading

import pytest

from parsl.serialize.blame import culprit, culprit_argument


def generator():
    return (i for i in ())


class Holder:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class Slotted:
    __slots__ = ("empty", "lock", "name")

    def __init__(self, lock):
        self.name, self.lock = "n", lock


class OneSlot:
    __slots__ = "only"  # noqa: PLC0205 - what is tested

    def __init__(self, only):
        self.only = only


@dataclasses.dataclass
class Config:
    name: str
    stream: object


class NoRepr:
    def __repr__(self):
        raise RuntimeError("no repr")

    def __reduce__(self):
        raise TypeError("not this one")


class Refusing:
    def __reduce__(self):
        raise ValueError("I stay here")


def closure():
    inner, unused = generator(), 3
    return lambda: (inner, unused)


def not_yet_assigned():
    def function():
        return late, stream

    stream = generator()
    if stream is None:
        late = 1
    return function


STREAM = generator()


def with_global():
    def inner():
        return [STREAM for _ in range(2)]

    return inner


def with_default(a, b=generator(), *, c=1):  # noqa: B008 - what is tested
    return a, b, c


def with_keyword_default(a, b=1, *, c=generator()):  # noqa: B008 - what is tested
    return a, b, c


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (generator, "x ("),
        (lambda: [1, generator()], "x[1] ("),
        (lambda: (1, [generator()]), "x[1][0] ("),
        (lambda: {"a": 1, "b": {3: generator()}}, "x['b'][3] ("),
        (lambda: {1, generator()}, "x{...} ("),
        (lambda: Holder(ok=1, deep=Holder(stream=generator())), "x.deep.stream ("),
        (lambda: Config("n", [generator()]), "x.stream[0] ("),
        (lambda: Slotted(generator()), "x.lock ("),
        (lambda: OneSlot(generator()), "x.only ("),
        (closure, "x's variable inner ("),
        (not_yet_assigned, "x's variable stream ("),
        (with_global, "x's global STREAM ("),
        (lambda: [[[[[[[[generator()]]]]]]]], "x[0][0][0][0][0][0] ("),
    ],
)
def test_the_path_leads_to_the_smallest_part_at_fault(make, path):
    assert culprit(make(), "x").startswith(path)


@pytest.mark.parametrize(("function", "name"), [(with_default, "b"), (with_keyword_default, "c")])
def test_defaults_of_functions(function, name, monkeypatch):
    monkeypatch.setattr(function, "__module__", "__main__")
    assert culprit(function, "x").startswith(f"x's default of {name} (")


def test_type_value_and_reason_are_told():
    with socket.socket() as s:
        text = culprit({"connection": s}, "argument 0")
    assert text.startswith("argument 0['connection'] (<socket.socket fd=")
    assert "of type socket.socket: cannot pickle 'socket' object)" in text


def test_what_a_users_reduce_raises_is_told():
    assert culprit([Refusing()], "x").endswith("test_blame.Refusing: I stay here)")


class array(NoRepr):
    """Has the name of a type that is shown in a way of its own."""


@pytest.mark.parametrize("kind", [NoRepr, array])
def test_a_repr_that_raises_hides_nothing(kind):
    text = culprit(kind(), "x")
    assert f"test_blame.{kind.__name__}: not this one" in text


def test_long_reprs_are_cut():
    assert len(culprit(Refusing(), "x")) < 300
    big = {"k" * 10_000: generator(), **{str(i): "v" * 1000 for i in range(100)}}
    assert len(culprit(big, "x")) < 500
    assert len(culprit([list(range(10**5)), generator()], "x")) < 500


def test_what_dill_can_carry_is_not_blamed():
    assert culprit([threading.Lock(), generator()], "x").startswith("x[1] (")


def test_circles_end():
    holder = Holder()
    holder.me = holder
    holder.stream = generator()
    assert culprit(holder, "x").startswith("x.stream (")
    ring = Holder(next=Holder())
    ring.next.next = ring
    ring.next.stream = generator()
    assert culprit(ring, "x").startswith("x.next.stream (")


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((1, generator()), {}, "argument 1 ("),
        ((1, {"config": Holder(lock=generator())}), {}, "argument 1['config'].lock ("),
        ((), {"config": [generator()]}, "argument 'config'[0] ("),
        ((generator(),), {"config": generator()}, "argument 0 ("),
    ],
)
def test_arguments_are_named_by_place_or_keyword(args, kwargs, path):
    assert culprit_argument(args, kwargs).startswith(path)
