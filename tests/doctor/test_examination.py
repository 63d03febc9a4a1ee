from __future__ import annotations

import io

import pytest

from parsl.config import Config
from parsl.doctor.case import Case
from parsl.doctor.examination import check_block_numbers, examine, examine_executor
from parsl.doctor.report import Report
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import AWSProvider, LocalProvider, SlurmProvider
from parsl.providers.commands import Answer
from tests.doctor.fakes import FakeProbe, bad, marks


def config(*providers):
    executors = [HighThroughputExecutor(label=f"e{n}", provider=p) for n, p in enumerate(providers)]
    return Config(executors=[*executors, ThreadPoolExecutor(label="t")])


def test_sound_executors_are_returned():
    out = io.StringIO()
    report = Report(out)
    probe = FakeProbe({"sinfo": "debug|up|infinite|4"})
    labels = examine(
        config(LocalProvider(), SlurmProvider(partition="debug"), SlurmProvider(partition="x")), probe, report
    )
    assert labels == ["e0", "e1", "t"]
    titles = [line for line in out.getvalue().splitlines() if line and not line.startswith(" ")]
    assert titles == [
        "this host",
        "executor e0: HighThroughputExecutor on LocalProvider",
        "executor e1: HighThroughputExecutor on SlurmProvider",
        "executor e2: HighThroughputExecutor on SlurmProvider",
        "executor t: ThreadPoolExecutor",
    ]


def test_no_executor_is_sound_where_nothing_can_be_written():
    assert examine(config(LocalProvider()), FakeProbe(write=OSError("full")), Report()) == []


def test_nobody_is_asked_for_a_placeholder():
    probe = FakeProbe()
    found = list(examine_executor(Case(config(SlurmProvider(account="YOUR_ACCOUNT")).executors[0], "."), probe))
    assert marks(bad(found)) == [("FAIL", "placeholder")]
    assert all(command.startswith("command -v") for command in probe.asked)


def test_a_system_without_its_programs_is_not_asked():
    probe = FakeProbe({"command -v": Answer("", 1)})
    list(examine_executor(Case(config(SlurmProvider()).executors[0], "."), probe))
    assert not [command for command in probe.asked if command.startswith("sinfo")]


def test_a_cloud_without_its_library_is_not_asked():
    class Untouchable(AWSProvider):
        def create_session(self):
            raise AssertionError

    executor = HighThroughputExecutor(provider=Untouchable(image_id="i", key_name="k"))
    found = bad(examine_executor(Case(executor, "."), FakeProbe(has_module=False)))
    assert ("FAIL", "library") in marks(found)
    assert ("FAIL", "credentials") not in marks(found)
    assert ("FAIL", "credentials") in marks(examine_executor(Case(executor, "."), FakeProbe()))


@pytest.mark.parametrize(
    ("options", "strategy", "expected"),
    [
        ({}, "simple", []),
        ({"init_blocks": 0}, "simple", []),
        ({"init_blocks": 0}, "none", [("FAIL", "blocks")]),
        ({"init_blocks": 0}, None, [("FAIL", "blocks")]),
        ({"init_blocks": 1}, None, []),
        ({"max_blocks": 0}, "simple", [("FAIL", "blocks")]),
        ({"min_blocks": 3, "max_blocks": 2}, "simple", [("warn", "blocks")]),
    ],
)
def test_numbers_of_blocks(options, strategy, expected):
    case = Case(HighThroughputExecutor(provider=LocalProvider(**options)), ".", strategy)
    assert marks(check_block_numbers(case)) == expected
