from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.jobs.states import JobState, JobStatus
from parsl.jobs.strategy import Strategy, View, decide
from tests.jobs.fakes import Clock, FakeExecutor, FakeProvider


def view(tasks=0, blocks=0, per_block=1, least=0, most=10, parallelism=1.0, idle=0.0, partly=False, leaving=0):
    return View(
        tasks=tasks,
        blocks=blocks,
        slots_per_block=per_block,
        min_blocks=least,
        max_blocks=most,
        parallelism=parallelism,
        idle=idle,
        max_idletime=120.0,
        scale_in_partly=partly,
        leaving=leaving,
    )


# -- the decision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "delta"),
    [
        (view(), 0),
        (view(tasks=1), 1),
        (view(tasks=1, parallelism=0.0), 1),
        (view(tasks=1000, parallelism=0.0), 1),
        (view(tasks=1000, parallelism=0.0, blocks=1), 0),
        (view(tasks=10, per_block=4), 3),
        (view(tasks=10, per_block=4, blocks=2), 1),
        (view(tasks=10, per_block=4, blocks=3), 0),
        (view(tasks=10, per_block=4, parallelism=0.5), 2),
        (view(tasks=1000, most=7, blocks=2), 5),
        (view(tasks=1000, most=math.inf, per_block=10), 100),
        (view(tasks=1, parallelism=math.inf, most=4), 4),
        (view(parallelism=math.inf, most=4), 0),
        (view(least=2), 2),
        (view(least=2, blocks=3, idle=119.0), 0),
        (view(least=2, blocks=3, idle=120.0), -1),
        (view(blocks=3, idle=500.0), -3),
        (view(tasks=1, blocks=3), 0),
        (view(tasks=1, blocks=3, idle=500.0), 0),
        (view(tasks=1, blocks=3, partly=True, idle=119.0), 0),
        (view(tasks=1, blocks=3, partly=True, idle=120.0), -2),
        (view(tasks=1, blocks=3, least=2, partly=True, idle=120.0), -1),
        (view(tasks=9, blocks=12, most=10, idle=120.0), 0),
        (view(tasks=99, blocks=12, most=10, partly=True, idle=120.0), -2),
        (view(tasks=9, leaving=4), 6),
        (view(tasks=9, blocks=3, leaving=7), 0),
        (view(tasks=9, blocks=3, leaving=9), 0),
        (view(least=2, leaving=10), 0),
        (view(blocks=2, leaving=2, idle=120.0), -2),
        (view(tasks=5, most=0), 0),
    ],
)
def test_decide(seen, delta):
    assert decide(seen) == delta


views = st.builds(
    View,
    tasks=st.integers(0, 10**6),
    blocks=st.integers(0, 60),
    slots_per_block=st.integers(1, 256),
    min_blocks=st.integers(0, 20),
    max_blocks=st.integers(1, 50),
    parallelism=st.floats(0, 1),
    idle=st.floats(0, 1000),
    max_idletime=st.floats(0, 500),
    scale_in_partly=st.booleans(),
    leaving=st.integers(0, 60),
).filter(lambda v: v.min_blocks <= v.max_blocks)


@given(views)
def test_the_number_of_blocks_stays_in_its_bounds(seen):
    delta = decide(seen)
    after = seen.blocks + delta
    if delta > 0:
        assert after + seen.leaving <= seen.max_blocks
    if delta < 0:
        assert after >= seen.min_blocks
    if seen.blocks < seen.min_blocks:
        assert after >= min(seen.min_blocks, seen.max_blocks - seen.leaving)


@given(views)
def test_a_constant_view_comes_to_rest_at_once(seen):
    after = seen._replace(blocks=seen.blocks + decide(seen))
    assert decide(after) == 0


@given(views)
def test_tasks_have_a_block(seen):
    if seen.tasks and seen.leaving < seen.max_blocks:
        assert seen.blocks + decide(seen) >= 1


@given(views)
def test_no_more_blocks_than_tasks_need(seen):
    if decide(seen) > 0:
        after = seen.blocks + decide(seen)
        needed = math.ceil(seen.tasks / seen.slots_per_block)
        assert after <= max(needed, seen.min_blocks)


@given(views)
def test_blocks_converge_to_what_tasks_need(seen):
    seen = seen._replace(parallelism=1.0, scale_in_partly=True, leaving=0, idle=seen.max_idletime)
    needed = math.ceil(seen.tasks / seen.slots_per_block)
    if seen.tasks:
        assert seen.blocks + decide(seen) == min(max(needed, seen.min_blocks), seen.max_blocks)


@given(views)
def test_idle_converges_to_the_least(seen):
    idle = seen._replace(tasks=0, idle=seen.max_idletime + 1, blocks=max(seen.blocks, seen.min_blocks))
    assert idle.blocks + decide(idle) == seen.min_blocks


@given(views)
def test_nothing_is_given_back_before_it_has_been_idle_for_long(seen):
    if seen.idle < seen.max_idletime or (seen.tasks and not seen.scale_in_partly):
        assert decide(seen) >= 0


# -- carrying it out ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def executor(tmp_path, clock):
    provider = FakeProvider(init_blocks=2, min_blocks=1, max_blocks=4)
    executor = FakeExecutor(provider, workers=3, run_dir=str(tmp_path))
    executor.clock = clock
    return executor


def begin(executor, name, max_idletime=60):
    strategy = Strategy(strategy=name, max_idletime=max_idletime)
    strategy.clock = executor.clock
    strategy.add_executors([executor])
    strategy.strategize([executor])
    return strategy


def live(executor):
    return [b for b, s in executor.status().items() if not s.terminal]


@pytest.mark.parametrize("name", ["none", None, "simple", "htex_auto_scale"])
def test_the_first_look_asks_for_the_first_blocks_once(executor, name):
    strategy = begin(executor, name)
    assert live(executor) == ["0", "1"]
    strategy.strategize([executor])
    assert live(executor) == ["0", "1"]


@pytest.mark.parametrize(("init", "least", "blocks"), [(0, 2, 2), (3, 1, 3), (0, 0, 0)])
def test_fewer_first_blocks_than_the_least(tmp_path, init, least, blocks):
    executor = FakeExecutor(FakeProvider(init_blocks=init, min_blocks=least), run_dir=str(tmp_path))
    begin(executor, "simple")
    assert len(live(executor)) == blocks


@pytest.mark.parametrize("name", ["none", None])
def test_without_a_strategy_blocks_stay_as_they_are(executor, clock, name):
    strategy = begin(executor, name)
    executor.task_count = 1000
    strategy.strategize([executor])
    assert not strategy.wants_blocks(executor)
    executor.task_count = 0
    clock.now += 10_000
    strategy.strategize([executor])
    assert live(executor) == ["0", "1"]


@pytest.mark.parametrize("name", ["simple", "htex_auto_scale"])
def test_blocks_follow_tasks_up_to_the_most(executor, name):
    strategy = begin(executor, name)
    for tasks, blocks in ((6, 2), (7, 3), (9, 3), (10, 4), (1000, 4)):
        executor.task_count = tasks
        assert strategy.wants_blocks(executor) == (len(live(executor)) < blocks)
        strategy.strategize([executor])
        assert len(live(executor)) == blocks
        assert not strategy.wants_blocks(executor)


def test_blocks_that_wait_count_and_blocks_that_ended_do_not(executor):
    strategy = begin(executor, "simple")
    executor.task_count = 6
    for state in JobState:
        executor._blocks["1"].status = JobStatus(state)
        assert strategy.wants_blocks(executor) == executor._blocks["1"].status.terminal, state


def test_idle_blocks_are_given_back_after_the_idle_time_only(executor, clock):
    strategy = begin(executor, "simple", max_idletime=60)
    clock.now += 59
    strategy.strategize([executor])
    assert executor.scale_ins == []
    clock.now += 1
    strategy.strategize([executor])
    assert executor.scale_ins == [(1, 60)]
    assert live(executor) == ["0"]
    strategy.strategize([executor])
    assert len(executor.scale_ins) == 1


def test_a_task_begins_the_idle_time_anew(executor, clock):
    strategy = begin(executor, "simple", max_idletime=60)
    clock.now += 59
    executor.task_count = 1
    strategy.strategize([executor])
    executor.task_count = 0
    clock.now += 59
    strategy.strategize([executor])
    clock.now += 59
    strategy.strategize([executor])
    assert executor.scale_ins == []
    clock.now += 1
    strategy.strategize([executor])
    assert len(executor.scale_ins) == 1


@pytest.mark.parametrize(("name", "given_back"), [("simple", []), ("htex_auto_scale", [(2, 60)])])
def test_blocks_of_a_busy_executor(executor, clock, name, given_back):
    strategy = begin(executor, name)
    executor.task_count = 9
    strategy.strategize([executor])
    executor.task_count = 2
    strategy.strategize([executor])
    clock.now += 59
    strategy.strategize([executor])
    assert executor.scale_ins == [], "more work may come"
    clock.now += 1
    strategy.strategize([executor])
    assert executor.scale_ins == given_back


def test_work_that_comes_and_goes_keeps_its_blocks(executor, clock):
    strategy = begin(executor, "htex_auto_scale", max_idletime=60)
    for tasks in (9, 6) * 20:
        executor.task_count = tasks
        clock.now += 30
        strategy.strategize([executor])
    assert (live(executor), executor.scale_ins) == (["0", "1", "2"], [])


def test_blocks_on_their_way_out_are_no_help_but_take_a_place(executor, clock):
    strategy = begin(executor, "simple")
    executor.task_count = 12
    strategy.strategize([executor])
    executor.busy = {"2", "3"}
    executor.idle = dict.fromkeys("0123", 100.0)
    assert executor.scale_in(4, 60) == ["0", "1", "2", "3"]
    assert live(executor) == ["2", "3"]
    assert executor.block_census() == (0, 2)
    strategy.strategize([executor])
    assert live(executor) == ["2", "3", "4", "5"]
    executor._on_emptied("2")
    executor.give_back_emptied()
    strategy.strategize([executor])
    assert live(executor) == ["3", "4", "5", "6"]


def test_blocks_that_leave_of_their_own_accord_are_replaced(executor):
    strategy = begin(executor, "simple")
    executor.task_count = 6
    executor.leaving = {"0"}
    assert strategy.wants_blocks(executor)
    strategy.strategize([executor])
    assert live(executor) == ["0", "1", "2"]


def test_an_executor_that_cannot_tell_what_is_idle_keeps_its_blocks_while_it_has_tasks(executor, clock):
    strategy = begin(executor, "htex_auto_scale")
    executor.task_count = 1
    for _ in range(3):
        clock.now += 100
        strategy.strategize([executor])
    assert live(executor) == ["0", "1"]


def test_after_failures_blocks_are_asked_for_ever_more_rarely(executor, clock):
    executor.provider.init_blocks = executor.provider.min_blocks = 0
    strategy = begin(executor, "simple")
    executor.provider.trouble["submit"] = RuntimeError("the queue is full")
    executor.task_count = 1
    tries = []
    for _ in range(200):
        before = len(executor.status())
        assert strategy.wants_blocks(executor) == (not executor.backoff.holds(clock.now))
        strategy.strategize([executor])
        if len(executor.status()) > before:
            tries.append(clock.now - 1000)
        clock.now += 1
    assert tries == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    executor.provider.trouble.clear()
    clock.now += 60
    strategy.strategize([executor])
    assert len(live(executor)) == 1


def test_a_replacement_of_a_failed_block_waits_and_a_working_one_ends_that(executor, clock):
    executor.provider.init_blocks = executor.provider.min_blocks = 0
    strategy = begin(executor, "simple")
    executor.task_count = 1
    strategy.strategize([executor])
    for number, pause in enumerate([1, 2, 4]):
        executor.provider.states[f"job-{number + 1}"] = JobStatus(JobState.FAILED, "worker_init failed", exit_code=3)
        executor.poll_facade()
        strategy.strategize([executor])
        clock.now += pause - 0.5
        strategy.strategize([executor])
        assert len(executor.provider.submitted) == number + 1
        clock.now += 0.5
        strategy.strategize([executor])
        assert len(executor.provider.submitted) == number + 2
    executor.connected.add("3")
    executor.provider.states["job-4"] = JobStatus(JobState.RUNNING)
    executor.poll_facade()
    executor.provider.states["job-4"] = JobStatus(JobState.FAILED)
    executor.poll_facade()
    assert executor.backoff.until == clock.now + 1


def test_a_shutdown_in_between_is_no_error(executor):
    executor.task_count = 5
    executor._closing = True
    begin(executor, "simple")
    assert executor.status() == {}


def test_nodes_count(tmp_path):
    executor = FakeExecutor(FakeProvider(init_blocks=0, nodes_per_block=4), workers=2, run_dir=str(tmp_path))
    strategy = begin(executor, "simple")
    executor.task_count = 9
    strategy.strategize([executor])
    assert len(live(executor)) == 2


def test_what_is_left_alone(executor, tmp_path):
    strategy = Strategy(strategy="simple", max_idletime=1)
    no_provider = FakeExecutor(None, label="no provider")
    strategy.add_executors([executor, no_provider])
    executor.set_bad_state_and_fail_all(RuntimeError("bad"))
    strategy.strategize([executor, no_provider])
    assert executor.status() == {}


def test_the_numbers_of_the_provider_may_change_while_it_is_used(executor):
    strategy = begin(executor, "simple")
    executor.task_count = 100
    executor.provider.max_blocks = 6
    strategy.strategize([executor])
    assert len(live(executor)) == 6
