"""Bars in the cells of a notebook: by a fake of IPython, and in a notebook that a real kernel runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from parsl.dataflow.notebook_bars import CellBars, in_notebook

pytest.importorskip("rich")

# Runs a notebook whose cells are given, and writes the outputs of each.
RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

cells = [nbformat.v4.new_code_cell(text) for text in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
# By files in this folder: of ports that are free now, another program may have taken one when the kernel wants it.
config = Config({"KernelManager": {"transport": "ipc", "ip": "kernel"}})
NotebookClient(notebook, timeout=120, kernel_name="python3", config=config).execute()
json.dump([cell.outputs for cell in notebook.cells], sys.stdout)
"""

LOAD = """
import threading
import parsl
from parsl import python_app
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor
from parsl.progress import progress_bars

leave = threading.Event()

@python_app
def fit(number):
    leave.wait(60)

kernel = parsl.load(Config(executors=[ThreadPoolExecutor(max_threads=2)], progress=SWITCH, run_dir=FOLDER))
"""

# Until the bars are seen to have changed in place, by what the kernel sends to its clients.
WATCH = """
from IPython.core.displaypub import DisplayPublisher
import time

publisher = get_ipython().display_pub
updates = []
plain = type(publisher).publish

def publish(self, data, *args, **kwargs):
    if kwargs.get("update"):
        updates.append(data["text/plain"])
    return plain(self, data, *args, **kwargs)

type(publisher).publish = publish
"""


def run_notebook(tmp_path, *cells):
    for name in ("ipykernel", "nbclient"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install ipykernel nbclient")
    folders = {name: str(tmp_path / name) for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(cells),
        env={**os.environ, **folders},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def texts(outputs):
    """Return what a cell has printed, and the plain text of what it shows; nothing else may be there."""
    printed = "".join(o["text"] for o in outputs if o["output_type"] == "stream")
    shown = [o["data"]["text/plain"] for o in outputs if o["output_type"] == "display_data"]
    assert {o["output_type"] for o in outputs} <= {"stream", "display_data"}
    assert {o["name"] for o in outputs if o["output_type"] == "stream"} <= {"stdout"}
    return printed, shown


@pytest.mark.slow
def test_the_switch_of_a_configuration_in_a_real_notebook(tmp_path):
    load = LOAD.replace("SWITCH", "True").replace("FOLDER", repr(str(tmp_path / "runs")))
    wait = "while not any('0/3' in text for text in updates):\n    time.sleep(0.01)"
    outputs = run_notebook(
        tmp_path,
        load + WATCH + "\nfutures = [fit(n) for n in range(3)]\nprint('submitted')\n" + wait,
        # What a later cell does is seen in the bars of the first; what it prints is its own.
        "leave.set()\nfor future in futures:\n    future.result()\nprint('done')",
        "futures = [fit(n) for n in range(4)]\n[f.result() for f in futures]\nparsl.dfk().cleanup()\nprint('ended')",
    )
    printed, shown = texts(outputs[0])
    assert printed == "submitted\n"
    (bars,) = shown
    assert "fit" in bars
    assert "7/7" in bars
    assert "\n" not in bars
    html = next(o["data"]["text/html"] for o in outputs[0] if o["output_type"] == "display_data")
    assert "7/7" in html
    assert [texts(cell) for cell in outputs[1:]] == [("done\n", []), ("ended\n", [])]


@pytest.mark.slow
def test_the_block_in_a_real_notebook(tmp_path):
    load = LOAD.replace("SWITCH", "False").replace("FOLDER", repr(str(tmp_path / "runs")))
    block = """
with progress_bars():
    futures = [fit(n) for n in range(5)]
    print("under way")
    leave.set()
    for future in futures:
        future.result()
print("behind")
"""
    outputs = run_notebook(tmp_path, load, block, "parsl.dfk().cleanup()")
    printed, shown = texts(outputs[1])
    assert printed == "under way\nbehind\n"
    (bars,) = shown
    assert "5/5" in bars
    assert texts(outputs[0]) == texts(outputs[2]) == ("", [])


class Shell:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    ("shell", "expected"), [(None, False), (Shell(), False), (Shell(kernel=None), False), (Shell(kernel=1), True)]
)
def test_a_kernel_of_a_notebook_is_told_from_a_terminal(monkeypatch, shell, expected):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert in_notebook() is expected


def test_without_ipython_it_is_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()


def test_what_has_not_changed_is_not_sent_again(monkeypatch):
    sent = []
    cell = SimpleNamespace(update=lambda data, raw: sent.append(data["text/plain"]))
    display = ModuleType("IPython.display")
    display.display = lambda data, raw, display_id: sent.append(data["text/plain"]) or cell
    ipython = ModuleType("IPython")
    ipython.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    drawn = iter(["one", "one", "two <b>"])
    bars = CellBars(lambda: next(drawn), seconds=3600)
    bars.start()
    bars._update()
    bars.stop()
    assert sent == ["one", "two <b>"]
