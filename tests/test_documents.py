"""Each script in the README, on the front page and in the tutorial runs and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/index.md", "docs/tutorial/first-workflow.md")
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
