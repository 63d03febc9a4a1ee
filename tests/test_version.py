from __future__ import annotations

from parsl.version import VERSION


def test_the_version_is_dotted_integers_not_below_the_release_we_follow() -> None:
    assert tuple(int(part) for part in VERSION.split(".")) >= (2026, 11, 0)
