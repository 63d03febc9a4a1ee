from __future__ import annotations

import pytest

from parsl.doctor.case import Case
from parsl.doctor.network import check_network
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import AWSProvider, LocalProvider, SlurmProvider
from tests.doctor.fakes import FakeProbe, bad, marks

AWS = AWSProvider(image_id="i", key_name="k")


def look(probe, provider=None, **options):
    executor = HighThroughputExecutor(provider=provider or SlurmProvider(), **options)
    return list(check_network(Case(executor, "."), probe))


@pytest.mark.parametrize("provider", [LocalProvider(), SlurmProvider(), AWS], ids=["here", "cluster", "cloud"])
@pytest.mark.parametrize("address", [None, "login1", "192.0.2.7"])
def test_all_well(provider, address):
    assert marks(look(FakeProbe(), provider, address=address)) == [("ok", "port"), ("ok", "address")]


def test_loopback_addresses_are_not_told_to_nodes():
    assert "127.0.0.1" not in look(FakeProbe())[1].text


@pytest.mark.parametrize(
    ("options", "text", "remedy"),
    [
        ({"worker_port": 80}, "port 80: nothing can listen there", "choose another worker_port, or leave it out"),
        (
            {"worker_port_range": (6000, 6010)},
            "ports 6000 to 6009: nothing can listen there",
            "choose another worker_port_range",
        ),
        (
            {"worker_port_range": None},
            "ports 54000 to 54999: nothing can listen there",
            "choose another worker_port_range",
        ),
    ],
)
def test_no_port(options, text, remedy):
    (finding,) = bad(look(FakeProbe(free_port=OSError("Address already in use")), **options))
    assert (finding.text, finding.remedy, finding.reason) == (text, remedy, "Address already in use")


def test_address_without_meaning():
    (finding,) = bad(look(FakeProbe(resolve=OSError("Name or service not known")), address="lgoin1"))
    assert finding.text == "address 'lgoin1' cannot be resolved"
    assert "Name or service not known" in finding.reason


@pytest.mark.parametrize("loopback", ["127.0.0.1", "127.0.1.1", "::1"])
def test_loopback_address_for_nodes(loopback):
    probe = FakeProbe(resolve=[loopback])
    assert marks(bad(look(probe, address="me"))) == [("FAIL", "address")]
    assert not bad(look(probe, LocalProvider(), address="me"))


def test_host_with_loopback_addresses_only():
    (finding,) = bad(look(FakeProbe(addresses={"127.0.0.1", "::1"})))
    assert finding.text == "each address of this host is a loopback address"


def test_host_that_does_not_reach_itself():
    probe = FakeProbe(reach=OSError("no answer"))
    assert marks(bad(look(probe))) == [("FAIL", "address")]
    assert marks(bad(look(probe, LocalProvider()))) == [("FAIL", "address")]
    assert marks(bad(look(probe, AWS, address="198.51.100.1"))) == [("warn", "address")]


def test_placeholder_is_not_asked_for():
    assert marks(look(FakeProbe(resolve=OSError("no")), address="YOUR_ADDRESS")) == [("ok", "port")]


def test_threads_need_no_network():
    assert not list(check_network(Case(ThreadPoolExecutor(), "."), FakeProbe(free_port=OSError("no"))))
