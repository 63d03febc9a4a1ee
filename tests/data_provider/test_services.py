"""Staging against real servers: Python's HTTP server, pyftpdlib, an rsync daemon, rsync and sftp over sshd.

They serve one folder; see `staging.sh` of the services.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl import File, bash_app, python_app
from parsl.data_provider.fsspec import FsspecInTaskStaging
from parsl.data_provider.ftp import FTPInTaskStaging, FTPSeparateTaskStaging
from parsl.data_provider.http import HTTPInTaskStaging, HTTPSeparateTaskStaging
from parsl.data_provider.rsync import RSyncStaging
from parsl.data_provider.transfer import TransferError
from parsl.dataflow.errors import DependencyError
from parsl.executors.threads import ThreadPoolExecutor
from tests.cloud_services import service
from tests.data_provider.servers import files_in
from tests.kernels import SOON, loaded

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def staging() -> Iterator[dict[str, str]]:
    with service("staging") as variables:
        yield variables


@pytest.fixture
def served(staging: dict[str, str]) -> Iterator[tuple[Path, str]]:
    """Give a new folder of the servers, and its name."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    folder = Path(staging["STAGING_DATA"]) / name
    folder.mkdir()
    yield folder, name
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@python_app
def read(file: Any) -> bytes:
    return Path(file).read_bytes()


@python_app
def write(content: bytes, outputs: Any = ()) -> None:
    for output in outputs:
        Path(output).write_bytes(content)


say = bash_app(lambda stdout=None: "echo said")

WAYS: dict[str, tuple[Any, str]] = {
    "http separate": (HTTPSeparateTaskStaging, "{STAGING_HTTP}/{name}/"),
    "http in task": (HTTPInTaskStaging, "{STAGING_HTTP}/{name}/"),
    "ftp separate": (FTPSeparateTaskStaging, "ftp://user:secret@127.0.0.1:{port}/{name}/"),
    "ftp in task": (FTPInTaskStaging, "ftp://user:secret@127.0.0.1:{port}/{name}/"),
    "rsync daemon": (lambda: RSyncStaging("nowhere"), "{STAGING_RSYNC}/{name}/"),
    "rsync over ssh": (lambda: RSyncStaging("svchost"), "{STAGING_DATA}/{name}/"),
}


@pytest.fixture(params=WAYS)
def base(
    request: pytest.FixtureRequest,
    staging: dict[str, str],
    served: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """Load a kernel with a provider; give the URL under which it finds the folder."""
    make, url = WAYS[request.param]
    if "RSYNC_RSH" in staging:
        monkeypatch.setenv("RSYNC_RSH", staging["RSYNC_RSH"])
    executor = ThreadPoolExecutor(storage_access=[make()], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]):
        yield url.format(name=served[1], port=staging["STAGING_FTP"].rsplit(":", 1)[1], **staging)


def test_files_come_and_go(base: str, served: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = served
    content = os.urandom(5_000_000)
    (folder / "big").write_bytes(content)
    assert read(File(base + "big")).result(timeout=SOON) == content
    future = write(content, outputs=[File(base + "made")])
    future.outputs[0].result(timeout=SOON)
    assert (folder / "made").read_bytes() == content
    assert read(future.outputs[0]).result(timeout=SOON) == content
    say(stdout=File(base + "said")).stdout.result(timeout=SOON)
    assert (folder / "said").read_text() == "said\n"
    assert files_in(folder) == {"big", "made", "said"}
    assert files_in(tmp_path / "work") == {"big", "made", "said"}


def test_a_file_that_is_not_there(base: str, served: tuple[Path, str], tmp_path: Path) -> None:
    (served[0] / "good").write_text("good")
    good, future = read(File(base + "good")), read(File(base + "missing"))
    error: Any = future.exception(timeout=SOON)
    if isinstance(error, DependencyError):
        error = error.dependent_exceptions_tids[0][0]
    assert isinstance(error, TransferError)
    assert f"task {future.tid} (read)" in str(error)
    assert good.result(timeout=SOON) == b"good"
    assert files_in(tmp_path / "work") == {"good"}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("{STAGING_HTTP}/cut/big.bin", "2500000 of 5000000 bytes"),
        ("{STAGING_HTTP}/status/503", "503"),
        ("{STAGING_HTTP}/auth/hello.txt", "401"),
        ("ftp://user:wrong@127.0.0.1:{port}/hello.txt", "530"),
        ("{STAGING_RSYNC}x/hello.txt", "Unknown module"),
    ],
)
def test_faults(staging: dict[str, str], tmp_path: Path, pauses: list[int], url: str, told: str) -> None:
    file = File(url.format(port=staging["STAGING_FTP"].rsplit(":", 1)[1], **staging))
    providers = [HTTPInTaskStaging(), FTPInTaskStaging(), RSyncStaging("nowhere")]
    executor = ThreadPoolExecutor(storage_access=providers, working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]):
        error = read(file).exception(timeout=SOON)
    assert isinstance(error, TransferError)
    assert told in str(error)
    assert files_in(tmp_path / "work") == set()


def test_redirects_and_chunks(staging: dict[str, str], tmp_path: Path) -> None:
    with loaded(tmp_path / "runs", executors=[ThreadPoolExecutor(working_dir=str(tmp_path / "work"))]):
        for way in ("redirect/sub/deep.txt", "chunked/sub/deep.txt"):
            assert read(File(f"{staging['STAGING_HTTP']}/{way}")).result(timeout=SOON) == b"deep\n"


def test_fsspec_over_sftp(staging: dict[str, str], served: tuple[Path, str], tmp_path: Path) -> None:
    pytest.importorskip("paramiko")
    sftp = pytest.importorskip("fsspec.implementations.sftp").SFTPFileSystem
    folder, _ = served
    (folder / "x").write_bytes(b"x")
    key = str(Path(staging["STAGING_SSH_CONFIG"]).parent / "key")
    provider = FsspecInTaskStaging(storage_options={"port": 18022, "username": "root", "key_filename": key})
    executor = ThreadPoolExecutor(storage_access=[provider], working_dir=str(tmp_path / "work"))
    with loaded(tmp_path / "runs", executors=[executor]):
        assert read(File(f"sftp://127.0.0.1{folder}/x")).result(timeout=SOON) == b"x"
        write(b"y", outputs=[File(f"sftp://127.0.0.1{folder}/y")]).outputs[0].result(timeout=SOON)
        error = read(File(f"sftp://127.0.0.1{folder}/missing")).exception(timeout=SOON)
    for system in sftp._cache.values():  # fsspec keeps connections for the life of a process
        system.client.close()
    sftp.clear_instance_cache()
    assert (folder / "y").read_bytes() == b"y"
    assert isinstance(error, TransferError)
    assert files_in(folder) == {"x", "y"}
