"""`with progress_bars(): ...`, where somebody looks and where nobody does."""

from __future__ import annotations

import io
import sys

import pytest

from parsl.app.app import python_app
from parsl.errors import NoDataFlowKernelError
from parsl.progress import progress_bars
from tests.kernels import loaded


def test_bars_while_the_block_runs(tmp_path):
    rich_console = pytest.importorskip("rich.console")
    stream = io.StringIO()
    app = python_app(abs)
    with loaded(tmp_path):
        app(-1).result()
        with progress_bars(console=rich_console.Console(file=stream, force_terminal=True, width=100)):
            for future in [app(-number) for number in range(7)]:
                future.result()
    assert "7/7" in stream.getvalue()


def test_an_error_in_the_block_ends_the_bars(tmp_path):
    rich_console = pytest.importorskip("rich.console")
    with loaded(tmp_path) as kernel:
        with pytest.raises(KeyError), progress_bars(kernel, rich_console.Console(file=io.StringIO())):
            raise KeyError
        assert kernel._watchers == ()


def test_silence_where_nobody_looks(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with loaded(tmp_path) as kernel, progress_bars():
        assert kernel._watchers == ()
        python_app(abs)(-1).result()
    assert stream.getvalue() == ""


def test_there_must_be_a_kernel():
    with pytest.raises(NoDataFlowKernelError), progress_bars():
        pytest.fail("the block was run")
