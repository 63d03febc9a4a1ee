"""Which nodes a block has by what schedulers tell, whose mpiexec there is, and the pool of both."""

from __future__ import annotations

import os
from argparse import Namespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput import mpi_block
from parsl.executors.high_throughput.messages import Payload, Task
from parsl.executors.high_throughput.mpi_block import block_nodes, expand_hostlist, make_pool, mpiexec_is_open_mpi
from parsl.executors.high_throughput.segments import SegmentStore

# -- lists of nodes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", "n1"),
        ("n1,m2,login", "n1 m2 login"),
        ("n[1-3]", "n1 n2 n3"),
        ("n[1,3,5-6]", "n1 n3 n5 n6"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("n[008-9]", "n008 n009"),
        ("n[9-10]", "n9 n10"),
        ("n[1-2]-ib", "n1-ib n2-ib"),
        ("r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02"),
        ("r[1-2]c[0]s[1-2].site", "r1c0s1.site r1c0s2.site r2c0s1.site r2c0s2.site"),
        ("a[1,b[2-3]]", "a1 ab2 ab3"),
        ("gpu-[1-2],cpu-a[07]", "gpu-1 gpu-2 cpu-a07"),
        ("n[1-1]", "n1"),
        (" n1,n2\n", "n1 n2"),
        ("nid[000001-000002,001000]", "nid000001 nid000002 nid001000"),
    ],
)
def test_a_list_stands_for_names(text, names):
    assert expand_hostlist(text) == names.split()


@pytest.mark.parametrize(
    "text", ["", ",", "n1,", "n[1-3", "n1]", "n]1[", "n[3-1]", "n[]", "n[1,]", "n[1-99999999999]", "n[1-999][1-9999]"]
)
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError, match=r"no list of nodes|no range of nodes|more than"):
        expand_hostlist(text)


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 20)), min_size=1, max_size=4), st.integers(1, 5))
def test_ranges_of_any_width(ranges, width):
    text = ",".join(f"{first:0{width}}-{first + more:0{width}}" for first, more in ranges)
    expected = [f"n{number:0{width}}" for first, more in ranges for number in range(first, first + more + 1)]
    assert expand_hostlist(f"n[{text}]") == expected


# -- what schedulers tell ----------------------------------------------------------------------------------------------


FILES = {
    "PBS_NODEFILE": "n1\nn1\nn2\n\nn2\n",
    "COBALT_NODEFILE": "n1\nn2\n",
    "LSB_DJOB_HOSTFILE": "n1\nn1\nn2\n",
    "PE_HOSTFILE": "n1 4 all.q@n1 UNDEFINED\nn2 4 all.q@n2 UNDEFINED\n",
}
TEXTS = {
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_NODELIST": "n[1-2]",
    "LSB_HOSTS": "n1 n1 n2 n2",
    "LSB_MCPU_HOSTS": "n1 4 n2 4",
}


@pytest.mark.parametrize("name", [*FILES, *TEXTS])
def test_each_scheduler_tells_the_nodes(name, tmp_path):
    told = TEXTS.get(name)
    if told is None:
        path = tmp_path / "nodes"
        path.write_text(FILES[name])
        told = str(path)
    assert block_nodes({name: told, "HOME": "/"}) == ["n1", "n2"]


def test_what_is_set_by_hand_comes_first(tmp_path):
    path = tmp_path / "nodes"
    path.write_text("# mine\nmy\n")
    assert block_nodes({"SLURM_JOB_NODELIST": "n[1-2]", "PBS_NODEFILE": str(path)}) == ["my"]
    assert block_nodes({"SLURM_JOB_NODELIST": "n[1-2]", "PBS_NODEFILE": ""}) == ["n1", "n2"]


def test_nothing_told_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"nodes of this block are not known: none of PBS_NODEFILE, .* worker_init"):
        block_nodes({"HOME": "/"})
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(ValueError, match=r"PBS_NODEFILE=.*empty names no node"):
        block_nodes({"PBS_NODEFILE": str(empty)})
    with pytest.raises(OSError, match="no/such"):
        block_nodes({"PBS_NODEFILE": "/no/such"})


# -- mpiexec -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "open_mpi"),
    [
        ("mpiexec (OpenRTE) 4.1.4", True),
        ("mpirun (Open MPI) 5.0.3", True),
        ("prterun (PRRTE) 3.0", True),
        ("HYDRA build details:\n    Version: 4.0.2", False),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.9", False),
        ("mpiexec version 1.2.12 (PALS)", False),
    ],
)
def test_mpiexec_tells_whose_it_is(tmp_path, monkeypatch, says, open_mpi):
    program = tmp_path / "mpiexec"
    program.write_text(f"#!/bin/sh\n[ $1 = --version ] && cat <<'.'\n{says}\n.\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert mpiexec_is_open_mpi() is open_mpi


def test_no_mpiexec_and_one_that_hangs_are_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mpi_block, "_VERSION_SECONDS", 0.2)
    program = tmp_path / "mpiexec"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not mpiexec_is_open_mpi()
    program.unlink()
    assert not mpiexec_is_open_mpi()
    assert [r.message.partition(":")[0] for r in caplog.records] == [
        "mpiexec does not tell its version, and is taken for one with -ppn and -hosts"
    ] * 2


def test_a_launcher_that_is_none_is_told():
    with pytest.raises(ValueError, match="--mpi-launcher must be one of aprun, mpiexec, srun, but is 'poe'"):
        make_pool(Hands(), range(1), Namespace(mpi_launcher="poe", prefetch_capacity=0), "node", ["n"], None)


# -- the pool ----------------------------------------------------------------------------------------------------------


class Hands:
    def __init__(self):
        self.given = []

    def give(self, task):
        self.given.append(task)
        return True


def test_variables_go_into_the_store_when_there_are_many_nodes(monkeypatch):
    monkeypatch.setattr(mpi_block, "mpiexec_is_open_mpi", lambda: True)
    nodes = [f"node{n:05}" for n in range(5000)]
    options = Namespace(mpi_launcher="srun", prefetch_capacity=0)
    store, hands = SegmentStore(), Hands()
    try:
        pool = make_pool(hands, range(2), options, "node", nodes, store)
        few = {"num_nodes": 1, "ranks_per_node": 1}
        many = {"num_nodes": 4999, "ranks_per_node": 1}
        pool.add([Task(1, 0, Payload(b""), few), Task(2, 0, Payload(b""), many)])
        inline, stored = (task.environment for task in hands.given)
        assert inline.segment is None
        assert msgspec.msgpack.decode(inline.body)["PARSL_MPI_PREFIX"].startswith("srun --ntasks 1 ")
        assert stored.body == b""
        variables = msgspec.msgpack.decode(store.open(stored)[1][0])
        assert variables["PARSL_MPI_NODELIST"] == ",".join(nodes[1:])
        assert "--host node00001:1," in variables["PARSL_MPIEXEC_PREFIX"]
    finally:
        store.close()
