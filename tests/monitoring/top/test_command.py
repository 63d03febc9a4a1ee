"""The command parsl-top: its options, its errors, plain text, and once in a real terminal."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from parsl.monitoring.top.command import main, parse
from tests.live.pilot import wait_for
from tests.monitoring import finished


def test_text_where_there_is_no_terminal(tmp_path, capsys):
    main([str(finished.made(tmp_path))])
    assert "120 of 120 tasks ended (108 exec_done, 12 failed)" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["nothing", "."])
def test_what_cannot_be_shown(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"parsl-top: .* (name|holds no)"):
        main([target])


def test_without_textual_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit, match=r"pip install 'parsl\[top\]'"):
        main([str(tmp_path)])


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "x"])
def test_intervals_that_are_none(interval, capsys):
    with pytest.raises(SystemExit):
        parse(["--interval", interval])
    assert "--interval" in capsys.readouterr().err


def test_in_a_terminal(tmp_path):
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    pytest.importorskip("textual")
    run = finished.made(tmp_path)
    tmux = ["tmux", "-S", str(tmp_path / "socket")]
    command = f"{sys.executable} -c 'from parsl.monitoring.top.command import main; main([\"{run}\"])'"

    def screen():
        return subprocess.run([*tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True).stdout

    subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", "-x", "130", "-y", "40", command], check=True)
    try:
        wait_for(lambda: "120 of 120 tasks ended" in screen())
        subprocess.run([*tmux, "send-keys", "f"], check=True)
        wait_for(lambda: "Tasks that are failed, page 1" in screen())
        subprocess.run([*tmux, "send-keys", "q"], check=True)
        # The terminal's only window ends with the command, and the server with that.
        wait_for(lambda: subprocess.run([*tmux, "has-session"], check=False, capture_output=True).returncode)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)
