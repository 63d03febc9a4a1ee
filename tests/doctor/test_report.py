from __future__ import annotations

import io
import json

import pytest

from parsl.doctor.findings import fail, ok, warn
from parsl.doctor.report import Report


def shown(report_into):
    out = io.StringIO()
    report = Report(out)
    report_into(report)
    return out.getvalue()


def test_a_line_for_each_check_and_why_and_how_beneath():
    def fill(report):
        report.section("this host")
        report.add(ok("a", "fine"))
        report.add(fail("b", "broken", "line one\nline two", "do this"))
        report.event("something happens")
        report.close()

    assert shown(fill) == (
        "\nthis host\n"
        "  ok    fine\n"
        "  FAIL  broken\n"
        "        why:  line one\n"
        "              line two\n"
        "        mend: do this\n"
        "   ..   something happens\n"
        "\n1 ok, 0 warnings, 1 failed\n"
    )


def test_long_text_is_wrapped_and_no_word_of_it_cut():
    path = "/a" * 80
    text = shown(lambda report: report.add(warn("a", "x", remedy=f"see {path} " + "word " * 40)))
    lines = text.splitlines()
    assert any(line.strip() == path for line in lines)
    assert all(len(line) <= 100 for line in lines if path not in line)
    assert text.count("word") == 40


def test_a_narrow_terminal():
    out = io.StringIO()
    Report(out, width=60).add(warn("a", "x", "word " * 30))
    assert max(map(len, out.getvalue().splitlines())) <= 60


def test_lines_are_shown_at_once():
    class Out(io.StringIO):
        flushed = 0

        def flush(self):
            self.flushed += 1

    out = Out()
    Report(out).add(ok("a", "fine"))
    assert out.flushed == 1


@pytest.mark.parametrize(
    ("findings", "code", "end"),
    [
        ([], 0, "0 ok, 0 warnings, 0 failed"),
        ([ok("a", "x"), warn("b", "x")], 0, "1 ok, 1 warning, 0 failed"),
        ([ok("a", "x"), fail("b", "x"), fail("c", "x")], 1, "1 ok, 0 warnings, 2 failed"),
    ],
)
def test_sum_and_exit_code(findings, code, end):
    out = io.StringIO()
    report = Report(out)
    assert report.add_all(findings) is (code == 0)
    report.close()
    assert (report.exit_code, out.getvalue().splitlines()[-1]) == (code, end)


def test_colours_only_where_asked_for():
    plain, coloured = io.StringIO(), io.StringIO()
    for out, colour in ((plain, False), (coloured, True)):
        Report(out, colour=colour).add(fail("a", "x"))
    assert "\033" not in plain.getvalue()
    assert "\033[1;31mFAIL\033[0m" in coloured.getvalue()


def test_json_has_everything():
    report = Report()
    report.section("s")
    report.add(fail("a", "x", "why", "how"))
    report.event("e")
    assert json.loads(report.as_json("my.py")) == {
        "config": "my.py",
        "ok": False,
        "findings": [
            {"section": "s", "mark": "FAIL", "check": "a", "text": "x", "reason": "why", "remedy": "how"},
        ],
        "events": [{"section": "s", "text": "e"}],
    }
