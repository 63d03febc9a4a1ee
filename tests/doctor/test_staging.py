from __future__ import annotations

import pytest

from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.doctor.staging import check_staging
from parsl.providers.commands import Answer
from tests.doctor.fakes import FakeProbe, marks


class RSyncStaging:
    def __init__(self, hostname):
        self.hostname = hostname


class GlobusStaging:
    pass


class FsspecInTaskStaging:
    pass


def test_default_providers_need_nothing():
    assert not list(check_staging(None, FakeProbe(has_module=False)))


@pytest.mark.parametrize(
    "staging", [NoOpFileStaging(), RSyncStaging("me@login1"), GlobusStaging(), FsspecInTaskStaging()]
)
def test_all_there(staging):
    assert marks(check_staging([staging], FakeProbe())) == [("ok", "staging")]


def test_library_missing():
    (finding,) = check_staging([GlobusStaging()], FakeProbe(has_module=False))
    assert (finding.mark.value, finding.remedy) == ("FAIL", "pip install 'parsl[globus_transfer]'")


def test_ssh_that_asks_for_a_password():
    probe = FakeProbe(bash=Answer("bash", 255, "", "me@login1: Permission denied (publickey)."))
    (finding,) = check_staging([RSyncStaging("me@login1; x")], probe)
    assert (finding.mark.value, finding.check) == ("warn", "staging")
    assert "Permission denied" in finding.reason
    assert "'me@login1; x'" in probe.scripts[0][0]


def test_program_and_host_missing():
    probe = FakeProbe(has_program=False, resolve=OSError("Name or service not known"))
    found = list(check_staging([RSyncStaging("me@nowhere")], probe))
    assert [finding.text for finding in found] == [
        "RSyncStaging needs rsync",
        "RSyncStaging needs ssh",
        "RSyncStaging: host 'nowhere' cannot be resolved",
    ]
