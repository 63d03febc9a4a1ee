"""Files of tasks that run in worker processes: fetched, sent, and what is told when that fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import File, bash_app, python_app
from parsl.app.errors import MissingOutputs
from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.fsspec import FsspecInTaskStaging
from parsl.data_provider.ftp import FTPInTaskStaging
from parsl.data_provider.http import HTTPInTaskStaging
from parsl.data_provider.transfer import TransferError
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.dataflow.errors import DependencyError
from tests.data_provider.servers import ftp_server, http_server
from tests.kernels import threads_config
from tests.live.pilot import SOON, htex


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    root = tmp_path_factory.mktemp("served")
    with http_server(root / "http") as http, ftp_server(root / "ftp") as ftp:
        for server in (http, ftp):
            (server.root / "numbers").write_text("1\n2\n3\n")
        yield {"http": http, "ftp": ftp}


@pytest.fixture(scope="module", params=["separate", "in task"])
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Load a kernel of two workers; give the folder into which files are staged."""
    folder = tmp_path_factory.mktemp("work")
    # Another scheme for files of this machine, which fsspec opens.
    fsspec = FsspecInTaskStaging(["local"], {"auto_mkdir": True})
    in_task = [HTTPInTaskStaging(), FTPInTaskStaging(), fsspec, *default_staging]
    providers = in_task if request.param == "in task" else [*default_staging, fsspec]
    executor = htex(storage_access=providers, working_dir=str(folder / "staged"))
    kernel = DataFlowKernelLoader.load(threads_config(folder / "runs", executors=[executor]))
    try:
        # Workers and the thread for callbacks then belong to the module and not to the first test that needs them.
        ended = threading.Event()
        python_app(int)().add_done_callback(lambda _: ended.set())
        assert ended.wait(SOON)
        yield folder / "staged"
    finally:
        kernel.cleanup()


@python_app
def total(file: Any, inputs: Any = ()) -> tuple[int, int]:
    import os as here

    return sum(int(line) for f in (file, *inputs) for line in open(f)), here.getpid()


@bash_app
def double(file: Any, outputs: Any = (), stdout: Any = None) -> str:
    return f"awk '{{print 2*$1}}' '{file}' > '{outputs[0]}'; echo done"


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_chain_of_files(servers: dict[str, Any], work: Path, scheme: str) -> None:
    server = servers[scheme]
    base = f"{scheme}://127.0.0.1:{server.port}"
    source, target, said = File(f"{base}/numbers"), File(f"{base}/doubled"), File(f"{base}/said")
    doubled = double(source, outputs=[target], stdout=said)
    result, pid = total(doubled.outputs[0], inputs=[source]).result(timeout=SOON)
    assert result == 18
    assert pid != os.getpid()
    assert doubled.outputs[0].result(timeout=SOON) is target
    assert doubled.stdout.result(timeout=SOON) is said
    assert (server.root / "doubled").read_text() == "2\n4\n6\n"
    assert (server.root / "said").read_text() == "done\n"
    assert source.local_path is None


def test_a_chain_by_fsspec(servers: dict[str, Any], work: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "numbers").write_text("4\n")
    doubled = double(File(f"local://{tmp_path}/numbers"), outputs=[File(f"local://{tmp_path}/new/doubled")])
    assert total(doubled.outputs[0]).result(timeout=SOON)[0] == 8
    assert (tmp_path / "new" / "doubled").read_text() == "8\n"


def test_an_archive(work: Path, tmp_path: Path, servers: dict[str, Any]) -> None:
    source = File(f"http://127.0.0.1:{servers['http'].port}/numbers")
    futures = [double(source, outputs=[File(f"zip:{tmp_path}/a.zip/part/{i}")]) for i in range(4)]
    assert total(futures[0].outputs[0], inputs=[f.outputs[0] for f in futures]).result(timeout=SOON)[0] == 60


def test_a_failure_tells_who_wanted_what(servers: dict[str, Any], work: Path) -> None:
    url = f"http://127.0.0.1:{servers['http'].port}/missing"
    future = total(File(url))
    error = future.exception(timeout=SOON)
    if isinstance(error, DependencyError):
        error = error.dependent_exceptions_tids[0][0]
    assert isinstance(error, TransferError)
    for part in (url, "404", f"task {future.tid} (total)"):
        assert part in str(error)
    assert not (work / "missing").exists()


def test_an_output_that_a_task_did_not_make(servers: dict[str, Any], work: Path) -> None:
    future = python_app(lambda outputs: 0)(outputs=[File(f"http://127.0.0.1:{servers['http'].port}/never")])
    error = future.outputs[0].exception(timeout=SOON)
    if isinstance(error, DependencyError):
        error = error.dependent_exceptions_tids[0][0]
    assert isinstance(error, MissingOutputs)
    assert "never" in str(error)
