from __future__ import annotations

import os
import socket

import pytest

from parsl.doctor.probe import HostProbe
from parsl.providers import SlurmProvider

PROBE = HostProbe()


def test_programs_and_modules():
    assert PROBE.has_program("bash")
    assert not PROBE.has_program("no_program_of_that_name")
    assert PROBE.has_module("zmq.utils")
    assert not PROBE.has_module("no_module_of_that_name")
    assert not PROBE.has_module("no_module_of_that_name.within")


def test_bash():
    answer = PROBE.bash("echo 'a  b'; echo c >&2; exit 3", 20, login=False)
    assert (answer.code, answer.out, answer.err) == (3, "a  b\n", "c\n")


def test_login_shell(tmp_path, monkeypatch):
    (tmp_path / ".bash_profile").write_text("export FROM_PROFILE=yes", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PROBE.bash("echo $FROM_PROFILE", 20, login=True).out == "yes\n"
    assert PROBE.bash("echo $FROM_PROFILE", 20, login=False).out == "\n"


def test_bash_without_end():
    answer = PROBE.bash("sleep 600 & wait", 0.2, login=False)
    assert (answer.code, answer.err) == (None, "no end within 0.2 s")


def test_a_provider_runs_its_own_commands():
    class Elsewhere(SlurmProvider):
        def execute_wait(self, cmd, timeout=None):
            return 0, f"elsewhere: {cmd}", ""

    assert PROBE.ask(Elsewhere(), "sinfo").out == "elsewhere: sinfo"
    assert PROBE.ask(SlurmProvider(), "exit 5").code == 5


def test_a_batch_system_that_is_slow():
    answer = PROBE.ask(SlurmProvider(cmd_timeout=1), "sleep 600")
    assert (answer.code, answer.err) == (None, "no answer within 1 s")


def test_names():
    assert "127.0.0.1" in PROBE.resolve("127.0.0.1")
    for name in ("a..b", "a" * 300):  # names that cannot be, so that nobody is asked
        with pytest.raises(OSError, match=name[:4]):
            PROBE.resolve(name)


def test_ports():
    port = PROBE.free_port(40000, 60000)
    with socket.create_server(("", port)):
        with pytest.raises(OSError, match="in use"):
            PROBE.free_port(port, port + 1)
    assert PROBE.free_port(port, port + 1) == port
    with pytest.raises(OSError, match="there is no port"):
        PROBE.free_port(5, 5)


def test_reaching_this_host():
    port = PROBE.free_port(40000, 60000)
    assert PROBE.reach(["127.0.0.1"], port) == "127.0.0.1"
    assert PROBE.addresses() >= {"127.0.0.1"}
    with pytest.raises(OSError, match=r"a\.\.b"):
        PROBE.reach(["a..b"], port)


def test_writing_leaves_nothing(tmp_path):
    PROBE.write(str(tmp_path / "not" / "yet" / "there"))
    PROBE.keys(str(tmp_path / "not" / "yet" / "there"))
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for verb in (PROBE.write, PROBE.keys):
        with pytest.raises(OSError, match="file"):
            verb(str(tmp_path / "file"))


def test_file_systems(tmp_path):
    assert PROBE.file_system("/proc/self") == "proc"
    assert PROBE.file_system(str(tmp_path / "not there")) == PROBE.file_system(os.path.realpath(tmp_path))
