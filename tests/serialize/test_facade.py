from __future__ import annotations

import functools
import gc
import pickle
import sys
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

import parsl.serialize
from parsl.serialize import facade
from parsl.serialize.base import SerializerBase
from parsl.serialize.concretes import DillSerializer, PickleSerializer, ValueSerializer
from parsl.serialize.errors import DeserializationError, DeserializerPluginError, SerializationError
from tests.serialize.elsewhere import call_elsewhere
from tests.serialize.test_concretes import plain

BIG = b"x" * 100_000


def generator():
    return (i for i in ())


class Marked(SerializerBase):
    """Found by its place on the other side."""

    def serialize(self, data):
        return b"marked" + pickle.dumps(data)

    def deserialize(self, payload):
        return pickle.loads(payload.removeprefix(b"marked"))


class Outer:
    class Inner(Marked):
        pass


class Picky(Marked):
    identifier = b"PK"

    def serialize(self, data):
        if data != "mine":
            raise TypeError("not for me")
        return super().serialize(data)


class NoSerializer:
    pass


@pytest.fixture
def registered():
    """Register serializers for a test."""
    before = [dict(d) for d in (facade.methods_for_data, facade.methods_for_code, facade._deserializers)]
    yield facade.register_method_for_data
    for kept, methods in zip(
        before, (facade.methods_for_data, facade.methods_for_code, facade._deserializers), strict=True
    ):
        methods.clear()
        methods.update(kept)


# -- objects -----------------------------------------------------------------------------------------------------------


def test_the_face_of_the_package():
    assert parsl.serialize.serialize is facade.serialize
    assert parsl.serialize.deserialize is facade.deserialize


@given(plain)
def test_any_plain_value_survives(value):
    for read in (bytes, bytearray, memoryview):
        assert facade.deserialize(read(facade.serialize(value))) == value


def test_the_form_is_identifier_line_feed_body():
    assert facade.serialize([1]).startswith(ValueSerializer.identifier + b"\n")
    assert facade.deserialize(DillSerializer.identifier + b"\n" + DillSerializer().serialize([1])) == [1]
    assert facade.deserialize(PickleSerializer.identifier + b"\n" + pickle.dumps([1])) == [1]


def test_dill_takes_what_the_first_refuses():
    packed = facade.serialize([threading.Lock()])
    assert packed.startswith(DillSerializer.identifier + b"\n")
    assert type(facade.deserialize(packed)[0]) is type(threading.Lock())


def test_old_parameters_are_accepted():
    assert facade.deserialize(facade.serialize(1, 10)) == 1
    assert facade.unpack_apply_message(facade.pack_apply_message(len, (), {}, 10)) == [len, (), {}]


@pytest.mark.parametrize(
    ("packed", "error"),
    [
        (b"", DeserializationError),
        (b"no line feed", DeserializationError),
        (b"V1\n", DeserializationError),
        (b"V1\ngarbage", DeserializationError),
        (b"01\n\x80\x05cno.such.module\nthing\n.", DeserializationError),
        (b"02\ngarbage", DeserializationError),
        (b"XX\nbody", DeserializerPluginError),
        (b"no.such.module Thing\nbody", DeserializerPluginError),
        (b"json NoSuchThing\nbody", DeserializerPluginError),
        (b"json loads\nbody", DeserializerPluginError),
        (b"a b c\nbody", DeserializerPluginError),
        (b"\xff\xfe\nbody", DeserializerPluginError),
        (f"{__name__} NoSerializer\nbody".encode(), DeserializerPluginError),
    ],
)
def test_what_cannot_be_unpacked(packed, error):
    with pytest.raises(error):
        facade.deserialize(packed)
    with pytest.raises(error):
        facade.unpack(packed)


class RefusesToReturn:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise KeyError("not here")


def test_what_a_user_raises_while_unpacking_is_told():
    packed = facade.serialize(RefusesToReturn())
    with pytest.raises(DeserializationError, match="KeyError: 'not here'") as caught:
        facade.deserialize(packed)
    assert type(caught.value.__cause__) is KeyError


@given(st.binary(max_size=30))
def test_garbage_raises_errors_of_ours_only(data):
    for packed in (data, b"V1\n" + data):
        try:
            facade.unpack(packed)
        except (DeserializationError, DeserializerPluginError):
            continue


# -- errors that name what is at fault ---------------------------------------------------------------------------------


class Config:
    def __init__(self, stream):
        self.stream = stream


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (lambda: facade.serialize({"a": generator()}), "an object['a'] ("),
        (lambda: facade.pack({"a": generator()}, "the result"), "the result['a'] ("),
        (lambda: facade.pack_result([1, generator()]), "the result[1] ("),
        (lambda: facade.pack_arguments((1, Config(generator())), {}), "argument 1.stream ("),
        (lambda: facade.pack_arguments((1,), {"config": Config(generator())}), "argument 'config'.stream ("),
        (lambda: facade.pack_apply_message(len, (generator(),), {}), "argument 0 ("),
        (lambda: facade.pack_apply_message(len, (), {"k": [generator()]}), "argument 'k'[0] ("),
        (lambda: facade.pack_apply_message(functools.partial(len, generator()), (), {}), "an object ("),
    ],
)
def test_an_error_names_argument_and_attribute(pack, words):
    with pytest.raises(SerializationError) as caught:
        pack()
    assert caught.value.fname.startswith(words)
    assert "cannot pickle 'generator' object" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_function_is_named_with_the_variable_at_fault():
    stream = generator()

    def reader():
        return list(stream)

    with pytest.raises(SerializationError) as caught:
        facade.pack_function(reader)
    assert caught.value.fname.startswith("reader's variable stream (")


def test_errors_name_arguments_also_where_a_serializer_is_registered(registered):
    registered(Picky())
    with pytest.raises(SerializationError) as caught:
        facade.pack_arguments((1, Config(generator())), {})
    assert caught.value.fname.startswith("argument 1.stream (")
    assert "not for me" not in str(caught.value)
    assert str(caught.value.__cause__) == "not for me", "the error of the serializer that was tried first"


# -- users' serializers ------------------------------------------------------------------------------------------------


def test_the_last_registered_is_tried_first(registered):
    registered(Marked())
    assert facade.serialize(1).startswith(Marked.identifier + b"\nmarked")
    registered(Picky())
    assert facade.serialize("mine").startswith(b"PK\n")
    assert facade.serialize("yours").startswith(Marked.identifier)
    assert [facade.deserialize(facade.serialize(v)) for v in ("mine", "yours")] == ["mine", "yours"]
    registered(Marked())
    assert facade.serialize("mine").startswith(Marked.identifier)
    assert facade.serialize(len).startswith(b"V1\n"), "code has serializers of its own"


def test_what_executors_pack_asks_users_serializers_as_well(registered):
    registered(Marked())
    for body, buffers in (
        facade.pack_arguments((), {}),
        facade.pack_arguments((1, BIG), {}),
        facade.pack_arguments((), {"a": 1}),
        facade.pack_result(1),
        facade.pack([BIG], "x"),
    ):
        assert body.startswith(Marked.identifier)
        assert buffers == []
        facade.unpack(body, buffers)


def test_code_has_serializers_of_its_own(registered):
    facade.register_method_for_code(Marked())
    assert facade.serialize(len).startswith(Marked.identifier)
    assert facade.serialize(1).startswith(b"V1\n")
    assert facade.deserialize(facade.serialize(len)) is len


def test_unregistering(registered):
    marked = Marked()
    registered(marked)
    facade.register_method_for_code(marked)
    packed = facade.serialize(1)
    facade.unregister(marked)
    facade.unregister(marked)
    assert facade.serialize(1).startswith(b"V1\n")
    assert facade.serialize(len).startswith(b"V1\n")
    assert facade.deserialize(packed) == 1, "it is found by its place again"


def test_without_any_serializer_the_error_is_clear(registered):
    for method in list(facade.methods_for_data.values()):
        facade.unregister(method)
    for pack in (facade.serialize, facade.pack_result, lambda v: facade.pack_arguments((v,), {})):
        with pytest.raises(SerializationError):
            pack(1)


def test_an_identifier_of_two_lines_is_refused(registered):
    marked = Marked()
    marked.identifier = b"a\nb"
    with pytest.raises(ValueError, match="line feed"):
        registered(marked)


@pytest.mark.parametrize("kind", [Marked, Outer.Inner])
def test_the_other_side_imports_a_serializer_by_its_place(registered, kind, tmp_path):
    source = """
from parsl.serialize.base import SerializerBase
class Outer:
    class Inner(SerializerBase):
        def serialize(self, data):
            return repr(data).encode()
        def deserialize(self, payload):
            return eval(payload)
"""
    (tmp_path / "their_plugin.py").write_text(source)
    sys.path.insert(0, str(tmp_path))
    try:
        from their_plugin import Outer as Theirs

        registered(Theirs.Inner())
        assert facade.serialize((1,)) == b"their_plugin Outer.Inner\n(1,)"
        assert call_elsewhere(divmod, 17, 5, path=[tmp_path]) == (3, 2)
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["their_plugin"]
    packed = kind.identifier + b"\n" + kind().serialize([kind.__name__])
    assert facade.deserialize(packed) == [kind.__name__]


# -- calls -------------------------------------------------------------------------------------------------------------


@given(st.lists(plain, max_size=4).map(tuple), st.dictionaries(st.text(), plain, max_size=3))
def test_any_arguments_survive(args, kwargs):
    body, buffers = facade.pack_arguments(args, kwargs)
    assert facade.unpack(body, [b.raw().tobytes() for b in buffers]) == (args, kwargs)


@pytest.mark.parametrize("args", [(), (1,), (1, "a", b"x", None), (BIG,), ([1], BIG), ("y" * 100_000,)])
def test_large_arguments_are_left_beside(args):
    body, buffers = facade.pack_arguments(args, {})
    assert len(buffers) == (BIG in args)
    assert facade.unpack(body, buffers) == (args, {})


def test_results():
    for value in (1, None, [1], BIG, [BIG, BIG[:-1]]):
        body, buffers = facade.pack_result(value)
        assert facade.unpack(memoryview(body).tobytes(), buffers) == value


def test_missing_buffers():
    body, _ = facade.pack_result(BIG)
    with pytest.raises(DeserializationError):
        facade.unpack(body)


def test_functions_are_packed_once_for_as_long_as_they_live(monkeypatch):
    def function():
        return 1

    packed = facade.pack_function(function)
    monkeypatch.setattr(facade, "serialize", lambda obj: pytest.fail("packed again"))
    assert facade.pack_function(function) is packed
    alive = weakref.ref(function)
    del function
    gc.collect()
    assert alive() is None


class NotHashable:
    __hash__ = None

    def __call__(self):
        return 5


class NoWeakReferences:
    __slots__ = ()

    def __call__(self):
        return 6


@pytest.mark.parametrize(("callable_", "result"), [(NotHashable(), 5), (NoWeakReferences(), 6), (abs, 7)])
def test_callables_that_cannot_be_remembered_are_packed_each_time(callable_, result):
    assert facade.deserialize(facade.pack_function(callable_))(*([-7] if callable_ is abs else [])) == result


def test_apply_messages():
    assert facade.unpack_apply_message(facade.pack_apply_message(divmod, (17,), {"x": BIG})) == [
        divmod,
        (17,),
        {"x": BIG},
    ]
    packed = facade.pack_res_spec_apply_message(divmod, (17, 5), {}, {"priority": 1})
    assert facade.unpack_res_spec_apply_message(packed) == [divmod, (17, 5), {}, {"priority": 1}]


@given(st.lists(st.binary()))
def test_any_buffers_can_be_joined_and_parted(buffers):
    assert facade.unpack_buffers(facade.pack_buffers(buffers)) == buffers


@given(st.binary(max_size=40) | st.from_regex(rb"\A([0-9]{1,2}\n.{0,9}){0,4}\Z"))
def test_garbage_is_parted_or_refused(data):
    try:
        parts = facade.unpack_buffers(data)
    except DeserializationError:
        return
    # The lengths may have been written in another way, with leading zeros.
    assert facade.unpack_buffers(facade.pack_buffers(parts)) == parts


@pytest.mark.parametrize(
    "packed", [b"5", b"5\nabc", b"\nabc", b"-1\nabc", b"x\nabc", b"9" * 5000 + b"\nabc", b"1\na2\n"]
)
def test_what_is_not_of_that_form(packed):
    with pytest.raises(DeserializationError, match="no length at byte"):
        facade.unpack_buffers(packed)


def test_too_few_parts():
    with pytest.raises(DeserializationError, match="2 parts, but here are 1"):
        facade.unpack_res_spec_apply_message(facade.pack_buffers([b"x"]))
