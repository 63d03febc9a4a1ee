from __future__ import annotations

import pytest

from parsl.errors import ConfigurationError
from parsl.usage_tracking import levels
from parsl.usage_tracking.api import UsageInformation


@pytest.mark.parametrize(
    ("given", "level"), [(False, 0), (True, 1), (0, 0), (1, levels.LEVEL_1), (2, levels.LEVEL_2), (3, levels.LEVEL_3)]
)
def test_legal_levels(given: int, level: int) -> None:
    assert levels.validate_level(given) == level
    assert type(levels.validate_level(given)) is int


@pytest.mark.parametrize("given", [-1, 4, 12, 2.0, "1", None])
def test_other_levels_are_refused_with_the_legal_ones(given: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"takes False, True, or a level 0, 1, 2 or 3, but got {given!r}"):
        levels.validate_level(given)  # type: ignore[arg-type]


def test_tracking_is_off_at_zero() -> None:
    assert levels.DISABLED == 0


def test_a_part_has_nothing_to_tell_unless_it_says_so() -> None:
    assert UsageInformation().get_usage_information() == {}
