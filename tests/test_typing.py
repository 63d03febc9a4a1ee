"""What type checkers make of a user's program."""

from __future__ import annotations

import os
from pathlib import Path

import mypy.api

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "tests" / "typing" / "api.py"


def check(program: Path) -> tuple[int, list[str]]:
    """Have mypy check a program as strictly as it can; return its exit code and what it says."""
    # The package's own errors are the business of the check of the package.
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", "--no-pretty", "--hide-error-context"]
    out, err, code = mypy.api.run([*options, "--config-file", str(ROOT / "pyproject.toml"), str(program)])
    assert not err
    return code, out.splitlines()


def test_a_users_program_has_the_types_it_should(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)  # where the cache of the package's own check is
    code, said = check(PROGRAM)
    assert said == []
    assert code == 0


def test_an_error_in_it_would_be_seen(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    copy = tmp_path / "api_with_errors.py"
    text = PROGRAM.read_text(encoding="utf-8")
    copy.write_text(text.replace("assert_type(double(1), AppFuture[int])", "assert_type(double(1), AppFuture[str])", 1))
    code, said = check(copy)
    assert code == 1
    assert len(said) == 1
    assert 'Expression is of type "AppFuture[int]", not "AppFuture[str]"' in said[0]
    assert said[0].startswith(os.fspath(copy)) or copy.name in said[0]
