"""Full disks, deleted folders, clocks that step, long names, few descriptors: clear errors or none."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from parsl.app.app import python_app
from parsl.executors.high_throughput import segments
from parsl.executors.high_throughput.client import InterchangeStartError
from tests.chaos.report import ROOT, chaos_report
from tests.live import pilot


def run(surroundings, run_dir, before="", unshare=()):
    """Run a script in odd surroundings; return its exit code, output and errors."""
    words = [sys.executable, "-m", "tests.chaos.odd_host", surroundings, str(run_dir)]
    command = ["bash", "-c", f"{before}exec {shlex.join(words)}"]
    result = subprocess.run(
        [*unshare, *command],
        env=pilot.script_environment(PYTHONPATH=f"{ROOT / 'src'}:{ROOT}"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def needs(*unshare):
    """Skip where this user may not make namespaces."""
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"{shlex.join(unshare)} is not allowed here: {probe.stderr.strip()}")


@pytest.mark.parametrize("surroundings", ["clock stepped back", "few descriptors"])
def test_what_a_run_does_not_notice(tmp_path, surroundings):
    began = time.monotonic()
    code, out, err = run(surroundings, tmp_path)
    assert (code, out.splitlines()[-1]) == (0, "done"), err
    assert not err
    chaos_report(surroundings, "nothing; the run took", time.monotonic() - began)


def test_a_host_name_of_64_characters(tmp_path):
    needs("unshare", "-ru")
    name = "h" * 64
    code, out, err = run("long host name", tmp_path, f"hostname {name}; ", ("unshare", "-ru"))
    assert code == 0, err
    assert f"host: {name}" in out


def test_paths_that_are_not_ascii(tmp_path):
    folder = tmp_path / "läufe der 数据 ünd 'Blanks'"
    folder.mkdir()
    code, out, err = run("other paths", folder / "rün", f"cd {shlex.quote(str(folder))}; ")
    assert (code, out.splitlines()[-1]) == (0, "done"), err


FULL = "mkdir -p {0}; mount -t tmpfs -o size={1} none {0}; "


def test_a_disk_that_is_full_at_the_start(tmp_path):
    needs("unshare", "-rm")
    folder = tmp_path / "disk"
    before = FULL.format(folder, "64k") + f"dd if=/dev/zero of={folder}/filler 2> /dev/null; "
    began = time.monotonic()
    code, _, err = run("disk full", folder, before, ("unshare", "-rm"))
    assert code == 1
    assert "No space left on device" in err
    told = [line for line in err.splitlines() if "Error" in line][-1]
    assert str(folder) in told or "executor htex" in told, err
    chaos_report("disk full at the start", "OSError: No space left on device", time.monotonic() - began)


def test_a_disk_that_gets_full(tmp_path):
    needs("unshare", "-rm")
    folder = tmp_path / "disk"
    began = time.monotonic()
    code, out, err = run("disk full meanwhile", folder, FULL.format(folder, "2m"), ("unshare", "-rm"))
    assert "full: " in out
    assert (code, out.splitlines()[-1]) == (0, "done"), err
    chaos_report("disk full meanwhile", "nothing but logs that end", time.monotonic() - began)


def test_a_run_folder_that_is_deleted(tmp_path):
    with pilot.kernel(tmp_path) as kernel:
        app = python_app(divmod, data_flow_kernel=kernel)
        assert app(9, 7).result(pilot.SOON) == (1, 2)
        shutil.rmtree(kernel.run_dir)
        began = time.monotonic()
        assert [f.result(pilot.SOON) for f in [app(i, 7) for i in range(100)]] == [divmod(i, 7) for i in range(100)]
        # A worker that starts anew has no folder for its log.
        pilot.workers_of(kernel.executors["htex"])[0].kill()
        assert [f.result(pilot.SOON) for f in [app(i, 7) for i in range(100)]] == [divmod(i, 7) for i in range(100)]
        # Nor has an interchange, and the keys are gone.
        executor = kernel.executors["htex"]
        old = pilot.interchange_of(executor)
        old.kill()
        future = app(9, 7)
        error = future.exception(pilot.SOON)
        assert error is None or "certificates" in str(error), error
        chaos_report("run folder deleted", "nothing", time.monotonic() - began)


def test_a_temporary_folder_with_a_long_name_is_told(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.setattr(segments, "_SHARED_MEMORY", str(tmp_path / "no such folder"))
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(InterchangeStartError, match="TMPDIR"):
        pilot.kernel(tmp_path)
    assert not os.listdir(deep)
