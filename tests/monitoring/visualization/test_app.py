from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from sqlalchemy import create_engine

from parsl.errors import OptionalModuleMissing
from parsl.monitoring.visualization import app, server, source
from tests.monitoring.visualization.made import began, write


def command(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "parsl.monitoring.visualization.app", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
    )


def address(process):
    return re.search(r"http://\S+", process.stdout.readline())[0]


def ended(process, how):
    process.send_signal(how)
    try:
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, text


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_ended(tmp_path, how):
    (tmp_path / "runinfo").mkdir()
    write(f"sqlite:///{tmp_path}/runinfo/monitoring.db", began())
    with command("-p", "0", cwd=tmp_path) as process:
        with urllib.request.urlopen(address(process)) as answer:
            assert b"census" in answer.read()
        code, text = ended(process, how)
    assert code in {0, -how}
    assert "Traceback" not in text


def test_another_address_asks_for_a_token(tmp_path):
    with command(f"{tmp_path}/a.db", "--listen", "127.0.0.2", "--port", "0", "--token", cwd=tmp_path) as process:
        url = address(process)
        assert re.fullmatch(r"http://127\.0\.0\.2:\d+/\?token=[\w-]{32}", url)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url.partition("?")[0])
        assert caught.value.code == 401
        caught.value.close()
        ended(process, signal.SIGTERM)


def test_all_addresses_ask_for_a_token(tmp_path, monkeypatch, capsys):
    served = []
    monkeypatch.setattr(server.Server, "serve_listening", lambda self: served.append(self) or done())

    async def done():
        pass

    app.cli_run([f"{tmp_path}/a.db", "-l", "0.0.0.0", "-p", "0"])
    assert len(served) == 1
    assert re.search(r"\?token=[\w-]{32} ", capsys.readouterr().out)


def test_a_port_that_is_taken_is_said(tmp_path):
    with server.listen("127.0.0.1", 0) as taken, pytest.raises(SystemExit, match=r"cannot listen on 127\.0\.0\.1 port"):
        app.cli_run([str(tmp_path / "a.db"), "-p", str(taken.getsockname()[1])])


@pytest.mark.parametrize("arguments", [["mysql://x/y"], ["sqlite:///a", "-p", "70000"], ["://"]])
def test_what_cannot_be_is_said(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        app.cli_run(arguments)
    assert str(caught.value).startswith("parsl-visualize: ")
    assert os.listdir(tmp_path) == []


def test_passwords_are_not_printed(tmp_path, monkeypatch, capsys):
    async def done():
        pass

    monkeypatch.setattr(server.Server, "serve_listening", lambda self: done())
    # Its driver may not be installed.
    monkeypatch.setattr(source, "open_engine", lambda url, read_only: create_engine("sqlite://"))
    app.cli_run(["postgresql://me:se:cret@host/name", "-p", "0"])
    assert "postgresql://me:***@host/name" in capsys.readouterr().out


def test_what_is_missing_is_named(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "starlette" else real(name))
    with pytest.raises(OptionalModuleMissing, match=r"starlette.*parsl\[visualization\]"):
        app.check_installed()
    with pytest.raises(SystemExit, match="starlette"):
        app.cli_run([])


def test_the_command_can_be_imported_without_what_it_needs():
    code = (
        "import sys; import parsl.monitoring.visualization.app; "
        "print([m for m in ('starlette', 'uvicorn', 'jinja2', 'sqlalchemy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_tokens_differ():
    assert len({app.make_token() for _ in range(100)}) == 100
