from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from parsl.monitoring import usage
from parsl.monitoring.records import decode_short, decode_usage
from parsl.monitoring.sampler import Gpus, Sampler, process_trees
from parsl.monitoring.usage import BASELINE, UsageMeter


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def meter():
    shown = bytearray(BASELINE.size)
    return UsageMeter("0", "node", shown, 0), shown


def test_a_short_try_is_told_shortly(monkeypatch):
    monkeypatch.setattr(usage, "SHORT_SECONDS", 3600)
    made, _ = meter()
    made.begin()
    burn(0.02)
    started, ended, cpu, _ = decode_short(made.end())
    assert 0.02 <= cpu <= ended - started + 0.02
    made.begin()
    assert decode_short(made.end())[2] < 0.02  # not that of the one before


@pytest.mark.parametrize("child", [False, True])
def test_a_longer_try_is_told_in_full(monkeypatch, child):
    monkeypatch.setattr(usage, "SHORT_SECONDS", 0)
    made, shown = meter()
    made.begin()
    began = time.time()
    if child:
        code = "import time\nwhile time.process_time() < 0.2: pass"
        subprocess.run([sys.executable, "-c", code], check=True)
    else:
        burn(0.2)
    found = decode_usage(made.end())
    assert found.user + found.system >= 0.2
    assert found.resident > 2**20
    assert 0 < found.memory_percent < 100
    assert found.pid == os.getpid()
    assert abs(BASELINE.unpack(shown)[0] - began) < 1
    made.begin()
    again = decode_usage(made.end())
    assert again.user + again.system < 0.2


def test_a_tree_is_sampled_as_a_whole():
    child = subprocess.Popen(["sleep", "60"])
    try:
        trees = process_trees([os.getpid(), 2**22 + 1])
        assert next(iter(trees[os.getpid()])).pid == os.getpid()
        assert child.pid in [p.pid for p in trees[os.getpid()]]
        assert len(trees) == 1
        found = Sampler("0", "node").sample({os.getpid(): (5.0, 0.0, 0.0), 2**22 + 1: (0.0, 0.0, 0.0)})
    finally:
        child.kill()
        child.wait()
    sample = found[os.getpid()]
    assert sample.children >= 1
    assert sample.started == 5.0
    assert sample.user > 0
    assert len(found) == 1


def test_what_was_used_before_the_try_does_not_count():
    found = Sampler(None, "node").sample({os.getpid(): (0.0, 1e9, 1e9)})
    assert (found[os.getpid()].user, found[os.getpid()].system) == (0.0, 0.0)


def test_gpus_are_told_of_where_the_library_is(monkeypatch):
    class Process:
        pid, usedGpuMemory = 7, 100

    class Library:
        NVMLError = OSError
        nvmlInit = staticmethod(lambda: None)
        nvmlDeviceGetCount = staticmethod(lambda: 2)
        nvmlDeviceGetHandleByIndex = staticmethod(lambda i: i)

        @staticmethod
        def nvmlDeviceGetUtilizationRates(handle):
            if handle:
                raise OSError("lost")

            class Rates:
                gpu = 40

            return Rates

        nvmlDeviceGetComputeRunningProcesses = staticmethod(lambda handle: [Process])

    monkeypatch.setitem(sys.modules, "pynvml", Library)
    assert Gpus().by_process() == {7: (40.0, 100)}
