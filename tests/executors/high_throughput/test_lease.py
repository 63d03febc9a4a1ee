from __future__ import annotations

from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.app.limits import timeout
from parsl.executors.base import FutureCall
from parsl.executors.high_throughput.lease import MARGIN, declared, usable, usable_seconds

NOW = 1_800_000_000.5


@pytest.mark.parametrize(("seconds", "left"), [(0, 0), (60, 54), (300, 270), (600, 570), (86400, 86370)])
def test_a_margin_is_left_at_the_end_of_a_block(seconds, left):
    assert usable(seconds) == left


@given(st.floats(0, 1e9))
def test_the_margin_is_never_more_than_there_is(seconds):
    assert 0 <= usable(seconds) <= seconds <= usable(seconds) + MARGIN


@pytest.mark.parametrize(
    ("environment", "left"),
    [
        ({}, None),
        ({"PARSL_BLOCK_ENDS": "1800000600"}, 569.5),
        ({"SLURM_JOB_END_TIME": "1800000600"}, 569.5),
        ({"PARSL_BLOCK_ENDS": "1800000600", "SLURM_JOB_END_TIME": "1800001000"}, 969.5),
        ({"PARSL_BLOCK_ENDS": "1800000600", "SLURM_JOB_END_TIME": "Unknown"}, 569.5),
        ({"PARSL_BLOCK_ENDS": "1800000600", "SLURM_JOB_END_TIME": "0"}, 569.5),
        ({"PARSL_BLOCK_ENDS": ""}, None),
    ],
)
def test_the_batch_systems_own_word_counts_first(environment, left):
    assert usable_seconds(environment, NOW) == left


@pytest.mark.parametrize("text", ["1700000000", "soon", "-5", "1e12"])
def test_what_is_no_time_to_come_is_told_and_not_used(caplog, text):
    assert usable_seconds({"PARSL_BLOCK_ENDS": text}, NOW) is None
    assert f"PARSL_BLOCK_ENDS is '{text}'" in caplog.text


def call(func=abs, kwargs=None, specification=None):
    return FutureCall(func, (), kwargs or {}, specification or {}, Future())


@pytest.mark.parametrize(
    ("one", "specification"),
    [
        (call(), {}),
        (call(specification={"priority": 1}), {"priority": 1}),
        (call(kwargs={"walltime": 60}), {"walltime": 60}),
        (call(kwargs={"walltime": 60}, specification={"priority": 1}), {"priority": 1, "walltime": 60}),
        (call(timeout(abs, 2.5)), {"walltime": 2.5}),
        (call(timeout(abs, 60), specification={"walltime": 30}), {"walltime": 30}),
        (call(kwargs={"walltime": "01:00:00"}), {}),
        (call(kwargs={"walltime": None}), {}),
    ],
)
def test_the_time_that_a_call_declares(one, specification):
    assert declared(one) == specification


def test_a_call_that_declares_no_time_costs_no_new_specification():
    one = call(specification={"priority": 1})
    assert declared(one) is one.resource_specification
