from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.representation import MAX_WIDTH
from parsl.utils import RepresentationMixin
from parsl.validation import check_types


class Point(RepresentationMixin):
    def __init__(self, x, y, label="p", *, visible=True):
        self.x, self.y, self.label, self.visible = x, y, label, visible

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None


class Wide(Point):
    """Takes what its base takes, and more."""

    def __init__(self, *args, width=3, **kwargs):
        super().__init__(*args, **kwargs)
        self.width = width


class Narrow(Point):
    """Fixes what its base takes."""

    def __init__(self, y):
        super().__init__(1, y)


class Holder(RepresentationMixin):
    def __init__(self, things=()):
        self.things = things


class Forgetful(RepresentationMixin):
    def __init__(self, kept, lost=3):
        self.kept = kept


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepresentationMixin, "_validate_repr", True)


def test_short_objects_stand_on_one_line() -> None:
    assert repr(Point(1, "b")) == "Point(1, 'b', label='p', visible=True)"


def test_long_objects_have_a_line_for_each_argument() -> None:
    assert repr(Point(1, "b" * 40)) == f"Point(\n    1,\n    '{'b' * 40}',\n    label='p',\n    visible=True\n)"


def test_the_limit_is_fifty_characters() -> None:
    fixed = len("Holder(things='')")
    assert repr(Holder("x" * (MAX_WIDTH - fixed))) == f"Holder(things='{'x' * (50 - fixed)}')"
    assert repr(Holder("x" * (MAX_WIDTH - fixed + 1))).startswith("Holder(\n    things='x")


def test_nested_objects_are_indented_under_their_holder() -> None:
    assert repr(Holder([Point(1, 2), Holder(["x" * 50])])) == (
        f"Holder(\n    things=[Point(1, 2, label='p', visible=True), Holder(\n        things=['{'x' * 50}']\n    )]\n)"
    )


def test_a_subclass_shows_its_own_parameters_and_those_it_passes_on() -> None:
    assert repr(Wide(1, 2)) == "Wide(width=3, x=1, y=2, label='p', visible=True)"
    assert eval(repr(Wide(1, 2))) == Wide(1, 2)


def test_a_subclass_with_a_closed_constructor_shows_only_that() -> None:
    assert repr(Narrow(2)) == "Narrow(2)"


def test_a_subclass_without_constructor_shows_its_bases() -> None:
    class Same(Point):
        pass

    assert repr(Same(1, 2)).startswith("Same(1, 2, label=")


@pytest.mark.usefixtures("strict")
def test_decorated_constructors_are_seen_through() -> None:
    def loud(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    class Checked(RepresentationMixin):
        @loud
        @check_types
        def __init__(self, size: int = 3) -> None:
            self.size = size

    assert repr(Checked()) == "Checked(size=3)"


def test_attributes_are_read_when_shown_not_when_built() -> None:
    point = Point(1, 2)
    point.x = 5
    assert repr(point).startswith("Point(5, 2")


def test_a_lost_parameter_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepresentationMixin, "_validate_repr", False)
    assert repr(Forgetful(1)) == "Forgetful(1, lost=<unknown>)"


@pytest.mark.usefixtures("strict")
def test_a_lost_parameter_is_an_error_in_strict_mode() -> None:
    assert repr(Point(1, 2))
    with pytest.raises(AttributeError, match="Forgetful does not keep its constructor parameter 'lost'"):
        repr(Forgetful(1))


def test_an_object_that_holds_itself_ends() -> None:
    holder = Holder()
    holder.things = [holder, Point(1, 2)]
    assert repr(holder) == "Holder(\n    things=[..., Point(1, 2, label='p', visible=True)]\n)"


def test_a_class_without_constructor() -> None:
    class Empty(RepresentationMixin):
        pass

    assert repr(Empty()) == "Empty()"


@given(
    st.recursive(
        st.integers() | st.text(max_size=30), lambda inner: st.lists(inner, max_size=3).map(Holder), max_leaves=6
    )
)
def test_evaluating_the_text_builds_an_equal_object(value: object) -> None:
    point = Point(value, 3)
    assert repr(eval(repr(point))) == repr(point)
