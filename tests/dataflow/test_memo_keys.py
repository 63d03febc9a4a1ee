"""Which calls have equal keys."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from parsl.app.bash_command import remote_side_bash_executor
from parsl.app.limits import timeout
from parsl.dataflow.memo_ids import id_for_memo, id_for_memo_pickle
from parsl.dataflow.memo_keys import Keys, memo_version
from parsl.dataflow.taskrecord import TaskRecord


def app(x: Any = 0, *more: Any, y: Any = 0, **rest: Any) -> None: ...


def other(x: Any) -> None: ...


def task(*args: Any, func: Any = app, ignore: list[str] | None = None, **kwargs: Any) -> TaskRecord:
    return TaskRecord(0, None, func, args, kwargs, "", {}, memoize=True, ignore_for_cache=ignore)  # type: ignore[arg-type]


def key(*args: Any, **kwargs: Any) -> str:
    return Keys().key(task(*args, **kwargs))


def test_a_key_is_32_hexadecimal_digits_and_the_same_in_every_run() -> None:
    assert key(1, "a", 2.5, y=None, func=max) == "c298624e8b131184423bef57b18636e0"


def test_different_calls_have_different_keys() -> None:
    calls = [
        key(), key(1), key(1.0), key(True), key("1"), key(b"1"), key(None), key(1, 1), key((1, 1)), key([1, 1]),
        key([1], 1), key(y=1), key(1, y=1), key(z=1), key(y=[1]), key(outputs=[1]), key(1, func=other),
        key([1], func=other), key("'1'"), key("1, 'y'"),
    ]  # fmt: skip
    assert len(set(calls)) == len(calls)


def test_keywords_count_in_any_order() -> None:
    assert key(y=1, z=2) == key(z=2, y=1)
    assert key(y=[1], z=2) == key(z=2, y=[1])


def test_ignored_parameters_do_not_count_however_they_are_given() -> None:
    ignore = functools.partial(key, ignore=["x", "z"])
    assert ignore(1) == ignore(2) == ignore(object())
    assert ignore(1, 5) != ignore(1, 6)
    assert ignore(y=1) != ignore(y=2)
    assert ignore(z=1) == ignore(z=object()) == ignore()


def test_a_function_with_unknown_parameters_is_no_obstacle() -> None:
    assert key(1, func=max, ignore=["x"]) != key(2, func=max, ignore=["x"])


def test_the_list_of_ignored_names_stays_as_it_is() -> None:
    ignore = ["x"]
    record = task(1, ignore=ignore, x=2)
    Keys().key(record)
    assert (ignore, record.args, record.kwargs) == (["x"], (1,), {"x": 2})


def test_wrappers_of_ours_do_not_change_a_key() -> None:
    bash = functools.update_wrapper(functools.partial(remote_side_bash_executor, app), app)
    assert key(1, func=bash) == key(1, func=timeout(app, 5)) == key(1)


class Callable:
    """Can be called, and has neither hash nor weak references."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...


def test_any_callable_will_do() -> None:
    assert key(func=Callable()) == key(func=Callable()) != key(func=len)
    assert key(func=functools.partial(app, 1)) == key(func=app)


def test_versions_and_tags_count() -> None:
    def tagged(tag: str) -> str:
        @memo_version(tag)
        def versioned() -> None: ...

        return key(func=versioned)

    assert tagged("1") == tagged("1") != tagged("2")
    assert Keys(version="1").key(task(1)) == Keys(version="1").key(task(1)) != Keys(version="2").key(task(1))


def test_code_counts_when_asked_for() -> None:
    def made(n: int) -> Any:
        def inner(x: Any) -> Any:
            return x + n

        return inner

    assert Keys().key(task(1, func=made(1))) == Keys().key(task(1, func=made(2)))
    assert Keys(code=True).key(task(1, func=made(1))) != Keys(code=True).key(task(1, func=made(2)))
    assert Keys(code=True).key(task(1, func=made(1))) == Keys(code=True).key(task(1, func=made(1)))


def test_another_way_to_tell_plain_values_apart_is_honoured() -> None:
    try:
        id_for_memo.register(float, lambda obj, output_ref=False: b"%.1f" % obj)
        assert key(1.01) == key(1.02) != key(1.2)
    finally:
        id_for_memo.register(float, id_for_memo_pickle)
    assert key(1.01) != key(1.02)


def test_unknown_types_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown type"):
        key(object())
    with pytest.raises(ValueError, match="unknown type"):
        key(outputs=[object()])
