from __future__ import annotations

import pytest

from parsl.doctor.case import Case
from parsl.doctor.host import check_folders, check_keys, check_monitoring, check_run_dir, check_versions
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import KubernetesProvider, LocalProvider, SlurmProvider
from parsl.version import VERSION
from tests.doctor.fakes import FakeProbe, bad, marks


def case(provider=None, run_dir="/shared/runs", **options):
    return Case(HighThroughputExecutor(provider=provider or LocalProvider(), **options), run_dir)


def test_versions_are_told():
    (finding,) = check_versions()
    assert VERSION in finding.text


def test_run_folder():
    assert marks(check_run_dir("/x", FakeProbe())) == [("ok", "run_dir")]
    (finding,) = check_run_dir("/x", FakeProbe(write=PermissionError(13, "Permission denied")))
    assert (finding.mark.value, finding.text) == ("FAIL", "run folder /x cannot be written")
    assert "Permission denied" in finding.reason
    assert "run_dir" in finding.remedy


def test_monitoring():
    assert not list(check_monitoring(wanted=False, probe=FakeProbe(has_module=False)))
    assert marks(check_monitoring(wanted=True, probe=FakeProbe())) == [("ok", "monitoring")]
    (finding,) = check_monitoring(wanted=True, probe=FakeProbe(has_module=False))
    assert finding.remedy == "pip install 'parsl[monitoring]'"


def test_script_folder_of_the_users_own():
    provider = SlurmProvider()
    provider.script_dir = "/scripts"
    assert marks(check_folders(case(provider), FakeProbe())) == [("ok", "script_dir"), ("ok", "shared folder")]
    found = list(check_folders(case(provider), FakeProbe(write=OSError("full"))))
    assert marks(bad(found)) == [("FAIL", "script_dir")]


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "xfs"])
def test_folder_that_nodes_will_not_see(kind):
    (finding,) = check_folders(case(SlurmProvider()), FakeProbe(file_system=kind))
    assert marks([finding]) == [("warn", "shared folder")]
    assert kind in finding.text


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "gpfs", ""])
def test_folder_that_nodes_may_see(kind):
    assert marks(check_folders(case(SlurmProvider()), FakeProbe(file_system=kind))) == [("ok", "shared folder")]


def test_folders_do_not_matter_here_and_in_threads():
    probe = FakeProbe(file_system="ext4")
    assert not list(check_folders(case(), probe))
    assert not list(check_folders(Case(ThreadPoolExecutor(), "."), probe))


@pytest.mark.parametrize("error", [OSError("Operation not permitted"), ValueError("no curve")])
def test_keys(error):
    assert marks(check_keys(case(), FakeProbe())) == [("ok", "encryption")]
    (finding,) = check_keys(case(), FakeProbe(keys=error))
    assert marks([finding]) == [("FAIL", "encryption")]
    assert str(error) in finding.reason


def test_keys_do_not_reach_a_cloud():
    kube = KubernetesProvider(image="x")
    assert marks(check_keys(case(kube), FakeProbe())) == [("warn", "encryption")]


def test_connections_in_the_open():
    assert marks(check_keys(case(SlurmProvider(), encrypted=False), FakeProbe())) == [("warn", "encryption")]
    assert not list(check_keys(case(encrypted=False), FakeProbe()))
    assert not list(check_keys(Case(ThreadPoolExecutor(), "."), FakeProbe()))
