"""The command parsl-report."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("jinja2")

from parsl.errors import OptionalModuleMissing
from parsl.monitoring.report import command
from parsl.monitoring.report.command import main
from tests.monitoring import finished


def test_a_file_beside_the_paper(tmp_path, monkeypatch, capsys):
    run = finished.made(tmp_path)
    monkeypatch.chdir(tmp_path)
    main([str(run)])
    assert "run-1" in capsys.readouterr().out
    assert (tmp_path / "parsl-report-run-1.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not list(tmp_path.glob("*.part"))


def test_a_file_of_another_name(tmp_path, capsys):
    main([str(finished.made(tmp_path)), "-o", str(tmp_path / "r.html")])
    assert (tmp_path / "r.html").exists()


def test_standard_output(tmp_path, capsys):
    main([str(finished.made(tmp_path)), "-o", "-"])
    assert capsys.readouterr().out.rstrip().endswith("</html>")


def test_what_cannot_be_written(tmp_path):
    run = finished.made(tmp_path)
    with pytest.raises(SystemExit, match=r"parsl-report: .*there is no .*/none"):
        main([str(tmp_path / "none")])
    with pytest.raises(SystemExit, match=r"parsl-report: .*No such file"):
        main([str(run), "-o", os.path.join(str(tmp_path), "no folder", "r.html")])


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    def missing(*_):
        raise OptionalModuleMissing(["jinja2"], "pip install 'parsl[report]'")

    monkeypatch.setattr(command, "render", missing)
    with pytest.raises(SystemExit, match=r"parsl\[report\]"):
        main([str(finished.made(tmp_path))])
