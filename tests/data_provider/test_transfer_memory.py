"""Files of any size pass through: a process that transfers a large one never has it in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data_provider.servers import QUOTED

SIZE = 200 << 20
MOST_KB = 60_000
"""What Python with the modules of a transfer takes, and a good third of the file's size less than the file."""

SCRIPT = """
import sys
from parsl.data_provider import ftp, http, zip
from parsl.data_provider.transfer import Transfer

carry = {"http": http._http_transfer, "ftp": ftp._ftp_transfer}
scheme, url, path, back = sys.argv[1:]
carry_in = carry.get(scheme, zip._zip_stage_in)
carry_out = carry.get(scheme, zip._zip_stage_out)
carry_out(Transfer("test", url, path, False, "a test"))
carry_in(Transfer("test", url, back, True, "a test"))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("scheme", ["http", "ftp", "zip"])
def test_a_large_file_never_sits_in_memory(scheme: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    urls: dict[str, Callable[[], str]] = {
        "http": lambda: f"http://127.0.0.1:{served('served').port}/large",
        "ftp": lambda: f"ftp://{QUOTED}@127.0.0.1:{served('ftp').port}/large",
        "zip": lambda: f"zip:{tmp_path}/a.zip/large",
    }

    def served(name: str) -> Any:
        return request.getfixturevalue(name)

    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(SIZE)
    back = tmp_path / "back"
    command = [sys.executable, "-c", SCRIPT, scheme, urls[scheme](), str(tmp_path / "sparse"), str(back)]
    peak_kb = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert back.stat().st_size == SIZE
    assert peak_kb < MOST_KB
