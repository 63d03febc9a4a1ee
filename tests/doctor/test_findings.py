from __future__ import annotations

import pytest

from parsl.doctor.findings import Mark, fail, ok, tail, warn


def test_each_maker_has_its_mark():
    assert [make("c", "t").mark for make in (ok, warn, fail)] == [Mark.OK, Mark.WARN, Mark.FAIL]


def test_what_programs_said_is_trimmed():
    assert fail("c", "t", "\nwhy\n", " how\n")[3:] == ("why", "how")


@pytest.mark.parametrize(
    ("text", "lines", "last"),
    [(None, 3, ""), ("", 3, ""), ("a\n\n b  \n", 3, "a\n b"), ("a\nb\nc", 2, "b\nc"), ("\n \n", 1, "")],
)
def test_tail(text, lines, last):
    assert tail(text, lines) == last
