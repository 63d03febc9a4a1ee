"""The table of what is supported, from a report of tests."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PROOF = '["SlurmProvider", "SrunLauncher", "Slurm", "22.05.8", "the system itself"]'
REPORT = """<testsuites><testsuite timestamp="2026-11-25T18:00:00+00:00">
<testcase name="a"><properties><property name="proved" value='{0}'/></properties></testcase>
<testcase name="b"><properties><property name="proved" value='{0}'/></properties></testcase>
<testcase name="c"><properties><property name="proved" value='{0}'/></properties><failure/></testcase>
<testcase name="d"><properties><property name="proved" value='{0}'/></properties><skipped/></testcase>
<testcase name="e"/>
</testsuite></testsuites>""".format(PROOF.replace('"', "&quot;"))


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("support_table", DOCS / "support_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_tests_that_passed_count(table):
    (row,) = table.rows_of(REPORT)
    assert row == "| SlurmProvider | SrunLauncher | Slurm | 22.05.8 | the system itself | 2 | 2026-11-25 |\n"


def test_rows_go_between_the_marks(table):
    page = f"before\n{table.BEGIN}old\n{table.END}after\n"
    once = table.with_table(page, ["| new |\n"])
    assert "old" not in once
    assert re.fullmatch(r"before\n.*\| new \|\n.*after\n", once, re.DOTALL)
    assert table.with_table(once, ["| new |\n"]) == once


def test_the_page_has_the_table(table):
    text = (DOCS / "reference" / "support.md").read_text(encoding="utf-8")
    assert f"{table.BEGIN}{table.HEAD}| " in text
    for provider in (
        "AWS",
        "Azure",
        "Condor",
        "GoogleCloud",
        "GridEngine",
        "Kubernetes",
        "LSF",
        "PBSPro",
        "Slurm",
        "Torque",
    ):
        assert f"| {provider}Provider |" in text
