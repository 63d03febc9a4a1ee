"""A run may be killed at any moment: what it said was done is found by the next."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from parsl.dataflow.checkpoints import INDEX, RECORDS, CheckpointReader, open_checkpoints
from parsl.dataflow.memoization import make_hash
from parsl.dataflow.taskrecord import TaskRecord
from parsl.utils import get_all_checkpoints
from tests.live.killed_runs import sized

ROOT = Path(__file__).parents[2]
KILLS = 50
PER_RUN = 1_000_000


def start_runs(run_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.live.killed_runs", str(run_dir)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def killed_run(runs: subprocess.Popen[str], first: int, moment: float) -> list[int]:
    """Have a run done that is killed at a moment after its first result; return the numbers that it said are done."""
    assert runs.stdin is not None
    assert runs.stdout is not None
    runs.stdin.write(f"{first}\n")
    runs.stdin.flush()
    pid, done = None, []
    for line in runs.stdout:
        if line.startswith("started"):
            pid = int(line.split()[1])
        elif line == "ended\n":
            break
        else:
            done.append(int(line))
        if pid is not None and done:
            # The moment is what is random here; nothing is waited for.
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL)
            pid = None
    return done


def hash_of(n: int) -> str:
    task = TaskRecord(0, None, sized, (n,), {}, "", {}, memoize=True)  # type: ignore[arg-type]
    return make_hash(task)


def test_a_run_killed_at_any_moment_has_saved_what_it_said_was_done(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    runs = start_runs(tmp_path)
    try:
        done = [killed_run(runs, n * PER_RUN, moments.uniform(0, 0.05)) for n in range(KILLS)]
    finally:
        runs.communicate(timeout=60)
    assert all(done), f"seed {seed}"
    folders = get_all_checkpoints(tmp_path)
    assert len(folders) == KILLS
    for without_index in (False, True):
        if without_index:
            for folder in folders:
                os.unlink(os.path.join(folder, INDEX))
        known = open_checkpoints(folders)
        for n in (n for numbers in done for n in numbers):
            record = known.record(hash_of(n))
            assert record is not None, f"result {n} is lost; seed {seed}"
            assert record["result"] == sized(n)
        assert all(known.record(hashsum) is not None for hashsum in known), f"a torn record; seed {seed}"
        known.close()
    torn = 0
    for folder in folders:
        with CheckpointReader(folder) as reader:
            torn += reader.end < os.path.getsize(os.path.join(folder, RECORDS))
    print(f"{sum(map(len, done))} results, {torn} of {KILLS} logs end within a record")
