"""Each script in the README, on the front page and in the tutorial runs and prints what stands below it.

On the pages about machines, each configuration is sound up to the machine, and each script runs on this one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from parsl.doctor.case import Case
from parsl.doctor.examination import examine_executor
from parsl.doctor.findings import Mark
from parsl.doctor.loading import load_config
from tests.doctor.fakes import FakeProbe

ROOT = Path(__file__).parent.parent
PAGES = (
    "README.md",
    "docs/index.md",
    "docs/tutorial/first-workflow.md",
    "docs/how-to/run-mpi-programs.md",
    "docs/how-to/submit-without-end.md",
    "docs/how-to/write-a-provider.md",
)
# A block of Python, then a block of text, with at most a line of prose between them.
SCRIPT = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n[^`\n]+\n)?\n```text\n(?P<output>.*?)^```$", re.DOTALL | re.MULTILINE
)


def scripts():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for number, match in enumerate(SCRIPT.finditer(text), start=1):
            yield pytest.param(match["code"], match["output"], id=f"{page}-{number}")


def test_every_block_of_python_is_a_script():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert len(SCRIPT.findall(text)) == text.count("```python") > 0, page


@pytest.mark.parametrize(("code", "output"), list(scripts()))
def test_script_prints_what_the_page_says(code, output, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr, run.returncode) == (output, "", 0)


# -- pages about machines ----------------------------------------------------------------------------------------------

MACHINES = tuple(
    f"docs/how-to/{name}.md"
    for name in (
        "use-a-machine",
        "run-on-slurm",
        "run-on-kubernetes",
        "run-on-aws",
        "run-on-dask-and-ray",
        "run-on-flux",
        "run-on-radical-pilot",
    )
)
BLOCK = re.compile(r"^```python\n(?P<code># (?P<file>\w+\.py)\n.*?)^```$", re.DOTALL | re.MULTILINE)
HERE = """
from parsl import Config, ThreadPoolExecutor

config = Config(executors=[ThreadPoolExecutor()])
"""


def blocks(file):
    found = []
    for page in MACHINES:
        text = (ROOT / page).read_text(encoding="utf-8")
        codes = [match["code"] for match in BLOCK.finditer(text) if match["file"] == file]
        found += [pytest.param(code, id=f"{page}-{number}") for number, code in enumerate(codes, start=1)]
    return found


def test_every_block_of_python_is_a_configuration_or_a_script():
    for page in MACHINES:
        text = (ROOT / page).read_text(encoding="utf-8")
        files = [match["file"] for match in BLOCK.finditer(text)]
        assert len(files) == text.count("```python") > 0, page
        assert set(files) <= {"my_machine.py", "my_script.py"}, page


@pytest.mark.parametrize("code", blocks("my_machine.py"))
def test_configuration_is_sound_up_to_the_machine(code, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "my_machine.py"
    path.write_text(code, encoding="utf-8")
    config = load_config(str(path))
    for executor in config.executors:
        probe = FakeProbe({"sinfo": "debug|up|infinite|4"}, resolve=["192.0.2.2"], has_module=False)
        found = examine_executor(Case(executor, config.run_dir, config.strategy), probe)
        # Without their libraries, no cloud is asked.
        failed = {finding.check for finding in found if finding.mark is Mark.FAIL}
        assert failed <= {"library"}


@pytest.mark.parametrize("code", blocks("my_script.py"))
def test_script_runs_on_this_machine(code, tmp_path):
    (tmp_path / "my_machine.py").write_text(HERE, encoding="utf-8")
    script = tmp_path / "my_script.py"
    script.write_text(code, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stderr, run.returncode) == ("", 0)
    assert run.stdout


def test_reference_of_the_doctor_names_every_check():
    sources = (ROOT / "src/parsl/doctor").glob("*.py")
    calls = [
        re.findall(
            r'\b(?:ok|warn|fail|judge|_asked|_writable)\(\s*"(?:[^"]* folder", ")?([\w ]+)"', path.read_text("utf-8")
        )
        for path in sources
    ]
    made = {check for found in calls for check in found} | {"environment", "queue"}
    table = (
        (ROOT / "docs/reference/doctor.md")
        .read_text(encoding="utf-8")
        .partition("## Checks")[2]
        .partition("\n\nWhat is")[0]
    )
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall("`([^`]+)`", row)} == made
