"""The strategy under any history of work, blocks and trouble, in a world whose clock is turned by hand.

Whatever happens, there are never more blocks than `max_blocks` and no block is cancelled while it has a task. When
nothing more happens, blocks come to rest at what the work needs, without going up and down, and at `min_blocks` when
there is none.
"""

from __future__ import annotations

import math
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parsl.executors import block_scaling
from parsl.jobs.states import JobState, JobStatus
from parsl.jobs.strategy import Strategy
from tests.jobs.fakes import Clock, FakeExecutor, FakeProvider

IDLE = 30.0


class Pilot(FakeExecutor):
    """Tasks wait, or run in connected blocks that are not on their way out."""

    def __init__(self, provider, clock, run_dir):
        super().__init__(provider, workers=2, run_dir=run_dir)
        self.clock = clock
        self.waiting = 0
        self.running = {}
        self.idle_since = {}
        self.outs, self.ins = [], []
        self.slow = False

    def leaving_blocks(self):
        return [b for b, block in self._blocks.items() if block.live and block.draining is not None]

    def outstanding(self):
        return self.waiting + sum(self.running.values())

    def _idle_seconds(self):
        return {b: 0.0 if self.running.get(b) else self.clock.now - since for b, since in self.idle_since.items()}

    def _start_drain(self, block_id):
        self.busy = {block_id} if self.slow or self.running.get(block_id) else set()
        super()._start_drain(block_id)

    def needed(self):
        """Return the blocks that the work asks for, in the words of the manual."""
        provider, tasks = self.provider, self.outstanding()
        blocks = max(1, math.ceil(tasks * provider.parallelism / self.workers)) if tasks else 0
        return min(max(blocks, provider.min_blocks), provider.max_blocks)

    def scale_out_facade(self, n):
        if self._blocks:
            assert self.block_census().serving + n <= self.needed()
        self.outs.append(n)
        return super().scale_out_facade(n)

    def scale_in(self, blocks, max_idletime=None):
        given_back = super().scale_in(blocks, max_idletime)
        self.ins += given_back
        return given_back

    def with_state(self, *states):
        return [b for b, block in self._blocks.items() if block.live and block.status.state in states]

    def connect(self, block_id):
        self.connected.add(block_id)
        self.heard.add(block_id)
        self.idle_since[block_id] = self.clock.now
        self.believe_managers()
        self.assign()

    def assign(self):
        for block_id in self.heard:
            while self.waiting and self._blocks[block_id].draining is None and self.running.get(block_id, 0) < 2:
                self.waiting -= 1
                self.running[block_id] = self.running.get(block_id, 0) + 1

    def end_task(self, block_id):
        self.running[block_id] -= 1
        if not self.running[block_id]:
            self.idle_since[block_id] = self.clock.now
            if self._blocks[block_id].draining is not None:
                self._on_emptied(block_id)
        self.assign()

    def end_block(self, block_id, state):
        """Tasks of a block that ends by itself are run again."""
        self.waiting += self.running.pop(block_id, 0)
        self.heard.discard(block_id)
        self.idle_since.pop(block_id, None)
        if self._blocks[block_id].draining is not None:
            self._on_emptied(block_id)
        self.provider.states[self._blocks[block_id].job_id] = JobStatus(state)
        self.poll_facade()
        self.assign()


class Checked(FakeProvider):
    """A provider that is asked to cancel empty blocks only."""

    def cancel(self, job_ids):
        for block_id in (self.pilot.job_ids_to_block[j] for j in job_ids):
            assert not self.pilot.running.get(block_id), f"block {block_id} had tasks when it was cancelled"
            self.pilot.heard.discard(block_id)
            self.pilot.idle_since.pop(block_id, None)
        return super().cancel(job_ids)


@pytest.fixture(autouse=True, scope="module")
def patience():
    """Nothing is waited for: who gives back busy blocks is answered at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_scaling, "EMPTY_SECONDS", 0)
        yield


class Histories(RuleBasedStateMachine):
    @initialize(
        name=st.sampled_from(["simple", "htex_auto_scale"]),
        least=st.integers(0, 2),
        more=st.integers(0, 4),
        init=st.integers(0, 3),
        parallelism=st.sampled_from([0.0, 0.4, 1.0]),
    )
    def begin(self, name, least, more, init, parallelism):
        self.clock = Clock()
        most = max(1, least + more)
        provider = Checked(min(init, most), least, most, parallelism)
        self.folder = tempfile.TemporaryDirectory()
        self.pilot = provider.pilot = Pilot(provider, self.clock, self.folder.name)
        self.strategy = Strategy(strategy=name, max_idletime=IDLE)
        self.strategy.clock = self.clock
        self.strategy.add_executors([self.pilot])
        # What wakes the keeper of the blocks; here it looks at once.
        self.pilot.blocks_changed = lambda ask: self.pilot.give_back_emptied()
        self.look()

    def look(self):
        self.pilot.give_back_emptied()
        self.strategy.strategize([self.pilot])

    @rule(tasks=st.integers(1, 12))
    def work_comes(self, tasks):
        self.pilot.waiting += tasks
        self.pilot.assign()
        if self.strategy.wants_blocks(self.pilot):
            self.look()

    @rule(tasks=st.integers(1, 12), data=st.data())
    def work_ends(self, tasks, data):
        for _ in range(tasks):
            busy = sorted(b for b, number in self.pilot.running.items() if number)
            if busy:
                self.pilot.end_task(data.draw(st.sampled_from(busy)))

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0, 70.0]))
    def time_passes(self, seconds):
        self.clock.now += seconds
        self.look()

    @rule(data=st.data())
    def a_block_connects(self, data):
        pending = self.pilot.with_state(JobState.PENDING)
        if pending:
            self.pilot.connect(data.draw(st.sampled_from(pending)))

    @rule(data=st.data(), state=st.sampled_from([JobState.FAILED, JobState.CANCELLED, JobState.TIMEOUT]))
    def a_block_ends(self, data, state):
        live = self.pilot.with_state(JobState.PENDING, JobState.RUNNING)
        if live:
            self.pilot.end_block(data.draw(st.sampled_from(live)), state)
            self.look()

    @rule(slow=st.booleans())
    def word_of_empty_blocks_is_late_or_not(self, slow):
        self.pilot.slow = slow

    @rule(data=st.data())
    def a_block_is_empty(self, data):
        draining = [b for b in self.pilot.leaving_blocks() if not self.pilot.running.get(b)]
        if draining:
            self.pilot._on_emptied(data.draw(st.sampled_from(draining)))

    @rule(blocks=st.integers(1, 3))
    def the_user_gives_blocks_back(self, blocks):
        self.pilot.scale_in(blocks)
        self.look()

    @rule(full=st.booleans())
    def the_queue_is_full_or_not(self, full):
        self.pilot.provider.trouble = {"submit": RuntimeError("the queue is full")} if full else {}

    @invariant()
    def never_more_blocks_than_allowed(self):
        if hasattr(self, "pilot"):
            assert sum(self.pilot.block_census()) <= self.pilot.provider.max_blocks

    def rest(self):
        """Let time pass in which nothing happens but that blocks start; return the growth and what was given back."""
        self.pilot.outs, self.pilot.ins = [], []
        for _ in range(8):
            for block_id in self.pilot.with_state(JobState.PENDING):
                self.pilot.connect(block_id)
            self.time_passes(70.0)
            self.never_more_blocks_than_allowed()
        return self.pilot.outs, self.pilot.ins

    def teardown(self):
        if not hasattr(self, "pilot"):
            return
        pilot, provider = self.pilot, self.pilot.provider
        provider.trouble = {}
        pilot.slow = False
        for block_id in pilot.leaving_blocks():
            if not pilot.running.get(block_id):
                pilot._on_emptied(block_id)
        outs, ins = self.rest()
        assert not (outs and ins), "up and down within the same work"
        census = pilot.block_census()
        if pilot.outstanding():
            needed = pilot.needed()
            assert census.serving >= min(needed, provider.max_blocks - census.leaving)
            if self.strategy.strategy == "htex_auto_scale":
                busy = sum(1 for b, tasks in pilot.running.items() if tasks and pilot._blocks[b].draining is None)
                assert census.serving <= max(needed, busy)
        while pilot.outstanding():
            while any(pilot.running.values()):
                pilot.end_task(max(pilot.running, key=pilot.running.get))
            self.rest()
        self.rest()
        assert pilot.block_census() == (provider.min_blocks, 0)
        self.folder.cleanup()


Histories.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
