from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.providers.errors import ScriptPathError
from parsl.providers.scripts import block_body, exit_code_in, new_script_path, render, safe_job_name, write_script


def run_block(folder: Path, worker_init: str, launch: str) -> tuple[int, int | None, str]:
    path = str(folder / "block.sh")
    write_script(path, "#!/bin/bash\n" + block_body(worker_init, launch, path))
    ended = subprocess.run(["bash", path], capture_output=True, text=True, check=False)
    return ended.returncode, exit_code_in(f"{path}.exitcode"), ended.stdout


@given(st.text())
def test_safe_names_are_safe(name):
    safe = safe_job_name(name)
    assert safe[0].isalpha()
    assert len(safe) <= 181
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


def test_a_plain_name_stays_as_it_is():
    assert safe_job_name("parsl.htex.block-0") == "parsl.htex.block-0"


def test_two_scripts_of_a_name_have_two_paths(tmp_path):
    assert new_script_path(tmp_path, "a") != new_script_path(tmp_path, "a")


def test_a_script_is_its_owners_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "new" / "a.sh"
    write_script(str(path), "x")
    assert path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ScriptPathError, match="exists"):
        write_script(str(path), "y")
    assert path.read_text() == "x"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScriptPathError, match=r"file/a\.sh"):
        write_script(str(tmp_path / "file" / "a.sh"), "x")


def test_lines_without_value_are_left_out():
    assert render("#A {a}\n#B {b}\n#C {c} {a}\n#D\n", {"a": 1, "b": None, "c": ""}) == "#A 1\n#D\n"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_a_value_stays_one_word(value):
    line = render("{x}", {"x": value})
    assert subprocess.run(["bash", "-c", f"printf %s {line}"], capture_output=True, check=True).stdout == value.encode()


@pytest.mark.parametrize("value", ["a\nrm -rf ~", "a\0", "\r"])
def test_a_value_with_line_breaks_is_refused(value):
    with pytest.raises(ValueError, match="partition has control characters"):
        render("#SBATCH -p {partition}\n", {"partition": value})


def test_a_block_leaves_its_exit_code(tmp_path):
    assert run_block(tmp_path, "", "exit 7") == (7, 7, "")


@pytest.mark.parametrize("init", ["exit 9", "exec bash -c 'exit 9'", "trap 'exit 9' EXIT", "set -e; (exit 9)"])
def test_nothing_in_worker_init_gets_between(tmp_path, init):
    assert run_block(tmp_path, init, "true")[:2] == (9, 9)


@pytest.mark.parametrize("init", ["X=1 # a comment", "X=1 \\", "SCRIPT_DIR=/elsewhere", "f() { :; }"])
def test_worker_init_does_not_run_into_the_launcher(tmp_path, init):
    assert run_block(tmp_path, init, 'echo "$SCRIPT_DIR"') == (0, 0, f"{tmp_path}\n")


def test_a_block_that_is_killed_leaves_nothing(tmp_path):
    # $PPID of a program in the subshell is the subshell; its parent is the script.
    code, left, _ = run_block(tmp_path, "", "kill -KILL $$; read -r -t 5 < <(:)")
    assert (code, left) == (-9, None)


def test_a_folder_with_any_name(tmp_path):
    folder = tmp_path / "a 'b' \"c\" $HOME `id` d"
    assert run_block(folder, "", 'printf %s "$SCRIPT_DIR"') == (0, 0, str(folder))


@pytest.mark.parametrize("text", ["", "1", "x\n", "1\n2\n", "-1\n"])
def test_half_an_exit_code_is_none(tmp_path, text):
    (tmp_path / "code").write_text(text)
    assert exit_code_in(str(tmp_path / "code")) is None


def test_no_file_is_no_exit_code(tmp_path):
    assert exit_code_in(str(tmp_path / "none")) is None
    assert exit_code_in(None) is None
