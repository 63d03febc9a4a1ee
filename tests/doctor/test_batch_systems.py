from __future__ import annotations

import re

import pytest

from parsl.doctor.batch_systems import check_programs, check_system, programs_of, slurm_minutes
from parsl.providers import (
    CondorProvider,
    GridEngineProvider,
    LSFProvider,
    PBSProProvider,
    SlurmProvider,
    TorqueProvider,
)
from parsl.providers.cluster_provider import ClusterProvider
from parsl.providers.commands import Answer
from tests.doctor.fakes import FakeProbe, bad, marks

DOWN = Answer("x", 1, "", "cannot connect to the server")


class Unknown(ClusterProvider):
    """A batch system of a user's own, who replaced the verbs as a whole."""

    def __init__(self):
        super().__init__("own", 1, 1, 0, 1, 1, "1:00:00", lambda *_: "")


# -- programs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "needed", "useful"),
    [
        (SlurmProvider(), {"sbatch", "squeue", "scancel"}, {"sacct"}),
        (PBSProProvider(), {"qsub", "qstat", "qdel"}, set()),
        (TorqueProvider(), {"qsub", "qstat", "qdel"}, set()),
        (LSFProvider(), {"bsub", "bjobs", "bkill"}, set()),
        (GridEngineProvider(), {"qsub", "qstat", "qdel"}, {"qacct"}),
        (CondorProvider(), {"condor_submit", "condor_q", "condor_rm"}, {"condor_history"}),
        (Unknown(), set(), set()),
    ],
)
def test_programs_come_from_the_command_lines(provider, needed, useful):
    found = programs_of(provider)
    assert {p for p, n in found.items() if n} == needed
    assert {p for p, n in found.items() if not n} == useful


def test_all_programs_there():
    (finding,) = check_programs(SlurmProvider(), FakeProbe())
    assert finding.text == "sbatch, squeue, scancel, sacct found"


def test_programs_missing():
    gone = Answer("", 1)
    probe = FakeProbe({"command -v sbatch": gone, "command -v sacct": gone})
    found = list(check_programs(SlurmProvider(), probe))
    assert [(f.mark.value, f.text) for f in found] == [
        ("FAIL", "sbatch is not on the PATH"),
        ("warn", "sacct is not on the PATH"),
        ("ok", "squeue, scancel found"),
    ]
    assert "login node" in found[0].remedy


# -- Slurm -------------------------------------------------------------------------------------------------------------

SINFO = "debug|up|infinite|4\nshort|up|2:00:00|4\nold|down|1-00:00:00|2\nsmall|up|infinite|1+\n"
PROMISE = Answer(
    "", 0, "", "sbatch: Job 7 to start at 2026-11-25T18:29:41 using 4 processors on nodes node[1-2] in partition debug"
)


def slurm(answers=None, **options):
    probe = FakeProbe({"sinfo": SINFO, "sbatch --test-only": PROMISE, **(answers or {})})
    return list(check_system(SlurmProvider(**{"partition": "debug", **options}), probe)), probe


def test_slurm_all_well():
    found, probe = slurm(scheduler_options="#SBATCH --mine", account="me", clusters="one two")
    assert [f.text for f in found] == [
        "Slurm answers; partitions: debug, short, old, small",
        "Slurm would start such a job at 2026-11-25T18:29:41 on node[1-2]",
    ]
    assert "--clusters='one two'" in probe.asked[0]
    assert {"#SBATCH --partition=debug", "#SBATCH --account=me", "#SBATCH --mine"} <= set(probe.asked[1].splitlines())


@pytest.mark.parametrize("partition", [None, "debug,short"])
def test_slurm_default_and_several_partitions(partition):
    assert not bad(slurm(partition=partition)[0])


@pytest.mark.parametrize(
    ("options", "check", "text"),
    [
        ({"partition": "nope"}, "partition", "there is no partition 'nope'"),
        ({"partition": "old"}, "partition", "partition 'old' is down"),
        ({"nodes_per_block": 5}, "partition", "partition 'debug' has 4 nodes, fewer than the 5 of a block"),
        ({"partition": "small", "nodes_per_block": 2}, "partition", "has 1\\+ nodes, fewer than the 2"),
        (
            {"partition": "short", "walltime": "03:00:00"},
            "walltime",
            r"walltime 03:00:00 \(180 min\) is more than partition 'short' allows \(120 min\)",
        ),
    ],
)
def test_slurm_partition(options, check, text):
    found, probe = slurm(**options)
    (finding,) = bad(found)
    assert (finding.mark.value, finding.check) == ("FAIL", check)
    assert re.search(text, finding.text)
    assert not [command for command in probe.asked if command.startswith("sbatch")]


def test_slurm_names_the_partitions_that_there_are():
    (finding,) = bad(slurm(partition="nope")[0])
    assert finding.remedy == "choose one of: debug, short, old, small"


def test_slurm_refuses():
    said = "sbatch: error: invalid account\nallocation failure: Invalid account or account/partition combination"
    (finding,) = bad(slurm({"sbatch --test-only": Answer("", 1, "", said)}, account="nobody")[0])
    assert (finding.mark.value, finding.check, finding.reason) == ("FAIL", "options", said)


def test_slurm_value_that_cannot_be_written():
    (finding,) = bad(slurm(account="a\nb")[0])
    assert (finding.mark.value, finding.check) == ("FAIL", "options")


def test_slurm_promise_in_other_words():
    found, _ = slurm({"sbatch --test-only": "fine"})
    assert found[-1].text == "Slurm would take such a job"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30", 30),
        ("30:30", 30.5),
        ("2:00:00", 120),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("1-00:00:30", 1440.5),
        ("infinite", None),
        ("n/a", None),
        ("", None),
    ],
)
def test_slurm_times(text, minutes):
    assert slurm_minutes(text) == minutes


# -- the others --------------------------------------------------------------------------------------------------------

QSTAT_Q = """\
Queue              Max   Tot Ena Str   Que   Run   Hld   Wat   Trn   Ext Type
---------------- ----- ----- --- --- ----- ----- ----- ----- ----- ----- ----
workq                0     1 yes yes     0     1     0     0     0     0 Exec
closed               ?     ?   no   yes    ?     ?     ?     ?     ?     ? E
stopped              0     0 yes  no     0     0     0     0     0     0 Exec
"""
HEAD = "".join(QSTAT_Q.splitlines(keepends=True)[:2])
ROWS = {row.split()[0]: HEAD + row for row in QSTAT_Q.splitlines(keepends=True)[2:]}


@pytest.mark.parametrize("provider", [PBSProProvider, TorqueProvider])
@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (None, None),
        ("workq", None),
        ("nope", "there is no queue 'nope'"),
        ("closed", "queue 'closed' takes no jobs"),
        ("stopped", "queue 'stopped' takes jobs, and starts none"),
    ],
)
def test_pbs(provider, queue, text):
    asked = {f"qstat -Q {queue}": ROWS.get(queue) or Answer("", 170, "", "qstat: Unknown queue nope")}
    found = list(check_system(provider(queue=queue), FakeProbe({**asked, "qstat -Q": QSTAT_Q})))
    assert found[0].text == "PBS answers; queues: workq, closed, stopped"
    assert [f.text for f in bad(found)] == ([text] if text else [])


BQUEUES = """\
QUEUE_NAME      PRIO STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN  SUSP  RSV PJOBS
night            40  Open:Inact        -    -    -    -     0     0     0     0    0     0
normal           30  Open:Active       -    -    -    -     2     0     2     0    0     0
shut             10  Closed:Active     -    -    -    -     0     0     0     0    0     0
"""


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (None, None),
        ("normal", None),
        ("nope", "there is no queue 'nope'"),
        ("shut", "queue 'shut' is Closed:Active"),
    ],
)
def test_lsf(queue, text):
    found = list(check_system(LSFProvider(queue=queue), FakeProbe({"bqueues": BQUEUES})))
    assert found[0].text == "LSF answers; queues: night, normal, shut"
    assert [f.text for f in bad(found)] == ([text] if text else [])


@pytest.mark.parametrize(
    ("queue", "options", "texts"),
    [
        (None, "", []),
        ("all.q", "#$ -pe smp 4", []),
        ("all.q@host", "", []),
        ("nope", "", ["there is no queue 'nope'"]),
        ("all.q", "#$ -cwd -pe mpich 4\n", ["there is no parallel environment 'mpich'"]),
    ],
)
def test_grid_engine(queue, options, texts):
    probe = FakeProbe({"qconf -sql": "all.q\nlong.q\n", "qconf -spl": "smp\nmpi\n"})
    found = list(check_system(GridEngineProvider(queue=queue, scheduler_options=options), probe))
    assert found[0].text == "Grid Engine answers; queues: all.q, long.q"
    assert [f.text for f in bad(found)] == texts


def test_condor():
    (finding,) = check_system(CondorProvider(), FakeProbe({"condor_status": "Claimed\nUnclaimed\nUnclaimed\n"}))
    assert finding.text == "HTCondor answers; slots: 3, unclaimed: 2"
    assert marks(check_system(CondorProvider(), FakeProbe())) == [("warn", "scheduler")]
    no_queue = FakeProbe({"condor_status": "Unclaimed", "condor_q": DOWN})
    assert marks(check_system(CondorProvider(), no_queue)) == [("ok", "scheduler"), ("FAIL", "scheduler")]


SILENT = [
    (SlurmProvider(), "sinfo"),
    (PBSProProvider(), "qstat"),
    (LSFProvider(), "bqueues"),
    (GridEngineProvider(), "qconf"),
    (CondorProvider(), "condor_status"),
]


@pytest.mark.parametrize(("provider", "command"), SILENT)
@pytest.mark.parametrize("answer", [DOWN, Answer("x", None, "", "no answer within 10 s")], ids=["down", "slow"])
def test_system_that_does_not_answer(provider, command, answer):
    (finding,) = check_system(provider, FakeProbe({command: answer}))
    assert (finding.mark.value, finding.check) == ("FAIL", "scheduler")
    assert answer.err in finding.reason


@pytest.mark.parametrize(("provider", "command"), SILENT)
@pytest.mark.parametrize("answer", [Answer("x", 127), Answer("x", 1, "", "qstat: bad option -Q")])
def test_system_that_cannot_be_asked_in_this_way(provider, command, answer):
    assert marks(check_system(provider, FakeProbe({command: answer}))) == [("warn", "scheduler")]


def test_unknown_system_and_own_subclass():
    assert not list(check_system(Unknown(), FakeProbe({"": DOWN})))
    mine = type("MyCluster", (SlurmProvider,), {})()
    assert marks(check_system(mine, FakeProbe({"sinfo": DOWN}))) == [("FAIL", "scheduler")]
