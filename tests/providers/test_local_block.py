"""How the processes of a local block live and end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from parsl.jobs.states import JobState
from parsl.providers import LocalProvider

FOREVER = "exec sleep 1000"


def read(fifo: str) -> str:
    """Wait for someone to write to the fifo and to close it."""
    return Path(fifo).read_text()


def wait_ended(job_id: str) -> None:
    """Wait until a block's script has ended, and leave it to the provider to find out."""
    os.waitid(os.P_PID, int(job_id), os.WEXITED | os.WNOWAIT)


def is_gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def wait_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child; whoever adopted it may be slow to reap it."""
    if not hasattr(os, "pidfd_open"):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(10)
        return
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            assert select.select([pidfd], [], [], 10)[0], f"process {pid} is still there"
        finally:
            os.close(pidfd)


def test_a_block_is_the_leader_of_its_own_session(provider: LocalProvider, fifo: str) -> None:
    job_id = provider.submit(f"echo $BASHPID > {fifo}; {FOREVER}", 1)
    pid = int(read(fifo))
    assert os.getsid(pid) == os.getpgid(pid) == int(job_id) != os.getsid(0)


def test_cancel_ends_the_whole_group(provider: LocalProvider, fifo: str) -> None:
    job_id = provider.submit(f"sleep 1000 & sleep 1000 & echo $! $BASHPID > {fifo}; wait", 2)
    pids = [int(pid) for pid in read(fifo).split()]
    assert not any(map(is_gone, pids))
    provider.cancel([job_id])
    assert all(map(is_gone, [*pids, int(job_id)]))


def test_cancel_gives_time_to_leave_even_when_the_leader_is_gone(
    provider: LocalProvider, fifo: str, tmp_path: Path
) -> None:
    mark = tmp_path / "left"
    pilot = tmp_path / "pilot.sh"
    pilot.write_text(f"trap 'sleep 0.2; touch {mark}; exit' TERM\nsleep 1000 &\necho go > {fifo}\nwait\n")
    job_id = provider.submit(f"bash {pilot}", 1)
    read(fifo)
    began = time.monotonic()
    assert provider.cancel([job_id]) == [True]
    assert mark.exists()
    assert time.monotonic() - began < provider.kill_grace


def test_cancel_kills_what_will_not_leave(provider: LocalProvider, fifo: str) -> None:
    provider.kill_grace = 0.3
    stubborn = f"trap '' TERM; echo $BASHPID > {fifo}; while :; do sleep 1000; done"
    job_ids = [provider.submit(stubborn, 1) for _ in range(3)]
    pids: list[int] = []
    while len(pids) < len(job_ids):
        pids += map(int, read(fifo).split())
    began = time.monotonic()
    assert provider.cancel(job_ids) == [True] * 3
    assert time.monotonic() - began < 3 * provider.kill_grace  # together, not one after another
    assert all(status.state is JobState.CANCELLED for status in provider.status(job_ids))
    for pid in pids:
        wait_gone(pid)


def test_what_a_script_leaves_behind_is_told_to_go(provider: LocalProvider, fifo: str) -> None:
    job_id = provider.submit(f"sleep 1000 & echo $! > {fifo}", 1)
    left = int(read(fifo))
    wait_ended(job_id)
    assert not is_gone(left)
    assert provider.status([job_id])[0].state is JobState.COMPLETED
    wait_gone(left)


def test_status_on_another_thread_while_cancelling(provider: LocalProvider) -> None:
    job_ids = [provider.submit(FOREVER, 1) for _ in range(8)]
    done = threading.Event()
    seen: list[JobState] = []

    def look() -> None:
        while not done.is_set():
            seen.extend(status.state for status in provider.status(job_ids))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert provider.cancel(job_ids) == [True] * 8
    finally:
        done.set()
        thread.join()
    assert set(seen) <= {JobState.RUNNING, JobState.CANCELLED}
    assert {status.state for status in provider.status(job_ids)} == {JobState.CANCELLED}


def test_an_interrupted_cancel_can_be_done_again(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = provider.submit("trap '' TERM; while :; do sleep 1000; done", 1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("selectors.DefaultSelector", interrupt)
        with pytest.raises(KeyboardInterrupt):
            provider.cancel([job_id])
    provider.kill_grace = 0.2
    assert provider.cancel([job_id]) == [True]
    assert provider.status([job_id])[0].terminal


def test_blocks_do_not_hear_the_terminals_interrupt(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from parsl.providers import LocalProvider\n"
        # A shell's background jobs, and all that they start, ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "provider = LocalProvider()\n"
        "provider.script_dir = sys.argv[1]\n"
        "job_id = provider.submit('exec sleep 1000', 1)\n"
        "try:\n"
        "    print(job_id, flush=True)\n"
        "    sys.stdin.read()\n"
        "except KeyboardInterrupt:\n"
        "    print(provider.status([job_id])[0].status_name, provider.cancel([job_id]), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdecimal()
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == "RUNNING [True]\n"
