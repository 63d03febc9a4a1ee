from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import types

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl import utils
from parsl.app.errors import BadStdStreamFile
from parsl.version import VERSION

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def test_ids_start_at_zero_and_are_unique_over_threads() -> None:
    counter = utils.AtomicIDCounter()
    taken: list[list[int]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def take(mine: list[int]) -> None:
        start.wait(10)
        mine.extend(counter.get_id() for _ in range(2000))

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for mine in taken for number in mine) == list(range(8000))
    assert all(mine == sorted(mine) for mine in taken)


def test_get_version() -> None:
    assert utils.get_version() == VERSION


def test_setproctitle_uses_the_package_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    package = types.ModuleType("setproctitle")
    package.setproctitle = titles.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setproctitle", package)
    utils.setproctitle("parsl: a process")
    assert titles == ["parsl: a process"]


def test_setproctitle_without_the_package_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "setproctitle", None)
    utils.setproctitle("parsl: a process")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo out; echo err >&2", (0, "out\n", "err\n")),
        ("exit 7", (7, "", "")),
        ("cat", (0, "", "")),  # the input is empty
        (r"printf '\377ok'", (0, "\ufffdok", "")),
        (r"printf 'a\r\nb'", (0, "a\r\nb", "")),
        ("no_such_command_here 2>/dev/null", (127, "", "")),
        ("kill -9 $$", (-signal.SIGKILL, "", "")),
    ],
)
def test_execute_wait(command: str, expected: tuple[int, str, str]) -> None:
    assert utils.execute_wait(command) == expected


def test_execute_wait_passes_large_output_on_both_streams() -> None:
    code, out, err = utils.execute_wait("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2", walltime=60)
    assert (code, len(out), len(err)) == (0, 1_000_000, 1_000_000)


def test_execute_wait_runs_in_a_process_group_of_its_own() -> None:
    code, out, _ = utils.execute_wait("ps -o pgid= -p $$; echo $$")
    group, pid = map(int, out.split())
    assert code == 0
    assert group == pid != os.getpgid(0)


def test_execute_wait_kills_the_whole_group_when_the_time_is_up(tmp_path: pathlib.Path) -> None:
    pids = tmp_path / "pids"
    begin = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        utils.execute_wait(f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait", walltime=0.5)
    assert time.monotonic() - begin < 30
    assert caught.value.timeout == 0.5
    started = [int(line) for line in pids.read_text().split()]
    assert len(started) == 2
    for pid in started:
        wait_until_gone(pid)


def wait_until_gone(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:  # an orphan may stay one where process 1 doesn't reap
            process.wait(10)
    except psutil.NoSuchProcess:
        return


def test_execute_wait_leaves_background_work_that_let_go_of_its_output() -> None:
    code, out, _ = utils.execute_wait("sleep 600 >/dev/null 2>&1 & echo $!")
    process = psutil.Process(int(out))
    assert code == 0
    assert process.status() != psutil.STATUS_ZOMBIE
    process.kill()


def test_execute_wait_leaves_no_descriptor_open() -> None:
    before = psutil.Process().num_fds()
    utils.execute_wait("true")
    with pytest.raises(subprocess.TimeoutExpired):
        utils.execute_wait("sleep 600", walltime=0.01)
    assert psutil.Process().num_fds() == before


def test_wait_for_file_goes_on_as_soon_as_the_file_is_there(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "late"
    timer = threading.Timer(0.05, path.touch)
    timer.start()
    begin = time.monotonic()
    with utils.wait_for_file(path, seconds=60):
        assert path.exists()
    assert time.monotonic() - begin < 30
    timer.join()


def test_wait_for_file_counts_real_seconds_and_goes_on_without_the_file(tmp_path: pathlib.Path) -> None:
    begin = time.monotonic()
    with utils.wait_for_file(str(tmp_path / "never"), seconds=0.1):
        took = time.monotonic() - begin
    assert 0.1 <= took < 5


def test_wait_for_file_passes_on_what_the_block_raises(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyError), utils.wait_for_file(tmp_path):
        raise KeyError


def test_time_limited_open_waits_for_the_file_and_closes_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "late"
    timer = threading.Timer(0.05, path.write_text, ["grüße"], {"encoding": "utf-8"})
    timer.start()
    with utils.time_limited_open(path, "rb", seconds=60):
        timer.join()
    with utils.time_limited_open(str(path), "r") as file:
        assert file.read() == "grüße"
    assert file.closed


def test_time_limited_open_gives_up(tmp_path: pathlib.Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="never"),
        utils.time_limited_open(tmp_path / "never", "r", seconds=0.01),
    ):
        pytest.fail("opened a file that is not there")


def make_runs(root: pathlib.Path, *names: str) -> None:
    for name in names:
        (root / name / "checkpoint").mkdir(parents=True)


def test_checkpoints_are_in_order_of_numbers(tmp_path: pathlib.Path) -> None:
    make_runs(tmp_path, "000", "999", "1000", "010", "text", "12a", "²")
    (tmp_path / "1001").mkdir()  # a run without checkpoint
    (tmp_path / "1002").touch()  # no run at all
    expected = [str(tmp_path / name / "checkpoint") for name in ("000", "010", "999", "1000")]
    assert utils.get_all_checkpoints(str(tmp_path)) == expected
    assert utils.get_last_checkpoint(tmp_path) == expected[-1:]


def test_checkpoints_are_absolute_and_looked_for_in_runinfo(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert utils.get_all_checkpoints() == []
    assert utils.get_last_checkpoint() == []
    make_runs(tmp_path / "runinfo", "003")
    expected = [str(tmp_path / "runinfo" / "003" / "checkpoint")]
    assert utils.get_all_checkpoints() == expected
    assert utils.get_last_checkpoint() == expected


def test_checkpoints_of_a_run_dir_that_is_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    assert utils.get_last_checkpoint(tmp_path / "file") == []


class BytesPath:
    def __fspath__(self) -> bytes:
        return "grüße".encode()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("out.txt", ("out.txt", "a+")),
        (pathlib.Path("d") / "out.txt", ("d/out.txt", "a+")),
        (BytesPath(), ("grüße", "a+")),
        (("out.txt", "w"), ("out.txt", "w")),
        ((pathlib.Path("out.txt"), "wb"), ("out.txt", "wb")),
        ((BytesPath(), "x"), ("grüße", "x")),
        (("out.txt", "r+"), ("out.txt", "r+")),
    ],
)
def test_std_stream_specifications(spec: object, expected: tuple[str, str]) -> None:
    assert utils.get_std_fname_mode("stdout", spec) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spec",
    [
        None, 5, -1, b"out.txt", ["out.txt", "w"], {"out.txt": "w"}, object(), (), ("out.txt",), ("out.txt", "w", 0),
        ("out.txt", None), ("out.txt", 3), (None, "w"), (5, "w"), (("out.txt", "w"), "w"), ("out.txt", "r"),
        ("out.txt", "q"), ("out.txt", ""),
    ],
)  # fmt: skip
def test_bad_std_stream_specifications(spec: object) -> None:
    with pytest.raises(BadStdStreamFile, match="stderr"):
        utils.get_std_fname_mode("stderr", spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("worker", "worker"),
        ("My_Worker.1", "my-worker-1"),
        ("--a  b--", "a-b"),
        ("a" * 62 + "-b", "a" * 62),
        ("x" * 100, "x" * 63),
        ("Größe", "gr-e"),
    ],
)
def test_dns_labels(raw: str, label: str) -> None:
    assert utils.sanitize_dns_label_rfc1123(raw) == label


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Pods.My_App", "pods.my-app"),
        ("..a..b..", "a.b"),
        ("-.a.-", "a"),
        ("a" * 70 + ".b", "a" * 63 + ".b"),
        (".".join(["a" * 63] * 5), ".".join(["a" * 63] * 3 + ["a" * 61])),
    ],
)
def test_dns_subdomains(raw: str, name: str) -> None:
    assert utils.sanitize_dns_subdomain_rfc1123(raw) == name


@pytest.mark.parametrize("raw", ["", "-", "...", "_._", "日本"])
def test_names_of_which_nothing_is_left(raw: str) -> None:
    for sanitize in (utils.sanitize_dns_label_rfc1123, utils.sanitize_dns_subdomain_rfc1123):
        with pytest.raises(ValueError, match=re.escape(repr(raw))):
            sanitize(raw)


@given(st.text(st.sampled_from("abZ9-._ ü"), max_size=400))
def test_sanitized_names_are_legal_and_stay_as_they_are(raw: str) -> None:
    if not re.search("[a-zA-Z0-9]", raw):
        return
    label = utils.sanitize_dns_label_rfc1123(raw)
    assert LABEL.fullmatch(label)
    assert utils.sanitize_dns_label_rfc1123(label) == label
    name = utils.sanitize_dns_subdomain_rfc1123(raw)
    assert len(name) <= 253
    assert all(LABEL.fullmatch(part) for part in name.split("."))
    assert utils.sanitize_dns_subdomain_rfc1123(name) == name


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("00:01:00", 1), ("01:30:00", 90), ("1:2:3", 62), ("100:00:59", 6000), ("00:90:00", 90), ("00:00:120", 2)],
)
def test_wall_times(text: str, minutes: int) -> None:
    assert utils.wtime_to_minutes(text) == minutes


def test_a_wall_time_under_a_minute_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    assert utils.wtime_to_minutes("00:00:59") == 0
    assert "00:00:59" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "10", "1:2", "a:b:c", "-1:00:00", "1-00:00:00", "01:00:00 ", "\u0661:00:00", "1:2:3:4"]
)
def test_bad_wall_times(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        utils.wtime_to_minutes(text)
