"""What the executor makes of its interchange's words on blocks; the interchange is played by the test."""

from __future__ import annotations

import msgspec
import pytest

from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.connected import Connected
from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError
from parsl.executors.high_throughput.messages import Managers, ManagerView
from parsl.jobs.states import JobState, JobStatus
from tests.jobs.fakes import Clock, FakeProvider

THRESHOLD = 120


class Commands:
    ok = True

    def __init__(self, client):
        self.client = client
        self.trouble = None

    def run(self, message, timeout=None):
        assert message == "MANAGERS"
        if self.trouble is not None:
            raise self.trouble
        return [msgspec.to_builtins(v) for v in self.client.connected.managers.values()]


class Client:
    """An interchange that empties a block when the test says so."""

    def __init__(self):
        self.connected = Connected()
        self.commands = Commands(self)
        self.calls = {}
        self.drained = []
        self.held = []
        self.drain, self.hold = self.drained.append, self.held.append

    def news(self, *views, gone=()):
        changed, lost = self.connected.update(Managers(list(views), list(gone)))
        if changed:
            self.blocks_changed(lost)


class Loop:
    def post(self, function, *args):
        function(*args)


def view(block, tasks=0, idle=0.0, workers=2, draining=False, name=None):
    name = name or f"m{block}"
    return ManagerView(name, block, workers, tasks, idle, not draining, draining, "1", "3.12", "node", 1, 2)


@pytest.fixture
def executor(tmp_path):
    executor = HighThroughputExecutor(provider=FakeProvider(), label="htex", heartbeat_threshold=THRESHOLD)
    executor.run_dir = str(tmp_path)
    executor.clock = Clock()
    executor.loop, executor._client, executor._launch_template = Loop(), Client(), "run {block_id}"
    executor._watch_blocks(executor._client)
    return executor


@pytest.fixture
def client(executor):
    return executor._client


def states(executor):
    return {b: s.state for b, s in executor.status().items()}


# -- how much a node takes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "node", "expected"),
    [
        ({"max_workers_per_node": 3}, {}, 3),
        ({}, {}, 1),
        ({}, {"cores_per_node": 8}, 8),
        ({"cores_per_worker": 2.5}, {"cores_per_node": 8}, 3),
        ({"cores_per_worker": 16}, {"cores_per_node": 8}, 1),
        ({"mem_per_worker": 3}, {"cores_per_node": 8, "mem_per_node": 10}, 3),
        ({"available_accelerators": 4}, {"cores_per_node": 8}, 4),
        ({"max_workers_per_node": 2, "available_accelerators": 4}, {"cores_per_node": 8}, 2),
    ],
)
def test_how_many_workers_a_node_will_have_is_estimated(options, node, expected):
    executor = HighThroughputExecutor(**options)
    for name, value in node.items():
        setattr(executor.provider, name, value)
    assert executor.workers_per_node == expected


def test_what_managers_say_counts_more_than_the_estimate_and_is_remembered(executor, client):
    executor.max_workers_per_node = 8
    assert executor.workers_per_node == 8
    client.news(view("0", workers=3))
    assert executor.workers_per_node == 3
    client.news(gone=["m0"])
    assert executor.workers_per_node == 3, "the next blocks will be like the last"
    client.news(view("1", workers=4))
    assert executor.workers_per_node == 4


# -- which block is given back -----------------------------------------------------------------------------------------


def test_never_connected_blocks_go_first_then_the_longest_idle(executor, client):
    executor.scale_out_facade(5)
    client.news(view("0", idle=10.0), view("1", idle=300.0), view("2", tasks=1))
    assert executor.scale_in(2, max_idletime=5.0) == ["4", "3"]
    assert client.drained == ["4", "3"]
    assert executor.scale_in(9, max_idletime=5.0) == ["1", "0"]
    assert executor.scale_in(9, max_idletime=5.0) == []


def test_all_managers_of_a_block_have_to_be_idle(executor, client):
    executor.scale_out_facade(1)
    client.news(view("0", idle=100.0), view("0", idle=3.0, name="other"))
    assert executor._idle_seconds() == {"0": 3.0}
    client.news(view("0", tasks=1, idle=50.0, name="third"))
    assert executor._idle_seconds() == {"0": 0.0}


def test_a_block_is_cancelled_only_when_the_interchange_has_said_that_it_is_empty(executor, client):
    executor.scale_out_facade(1)
    client.news(view("0", idle=100.0))
    executor.blocks_changed = woken = [].append
    assert executor.scale_in(1, max_idletime=5.0) == ["0"]
    assert executor.provider.cancelled == []
    assert executor.give_back_emptied() == []
    assert executor.block_census() == (0, 1)
    client.emptied("0")
    assert woken.__self__ == [False]
    assert executor.give_back_emptied() == ["0"]
    assert states(executor) == {"0": JobState.SCALED_IN}


def test_blocks_that_leave_by_themselves_are_no_choice_for_the_strategy_but_for_a_user(executor, client, monkeypatch):
    monkeypatch.setattr("parsl.executors.block_scaling.EMPTY_SECONDS", 0)
    executor.scale_out_facade(1)
    client.news(view("0", idle=100.0, draining=True))
    assert executor.block_census() == (0, 1)
    assert executor.scale_in(1, max_idletime=5.0) == []
    assert executor.scale_in(1) == ["0"]


def test_without_an_interchange_nothing_can_be_lost(executor, client):
    executor.scale_out_facade(1)
    client.news(view("0", tasks=1))
    client.commands.ok = False
    client.commands.trouble = CommandClientBadError()
    assert executor.scale_in(1) == ["0"]
    assert executor.provider.cancelled == ["job-1"]


def test_an_interchange_that_does_not_answer_is_the_callers_to_know(executor, client):
    executor.scale_out_facade(1)
    client.commands.trouble = CommandClientTimeoutError()
    with pytest.raises(CommandClientTimeoutError):
        executor.scale_in(1)
    assert states(executor) == {"0": JobState.PENDING}


# -- blocks that are not said to be empty ------------------------------------------------------------------------------


@pytest.fixture
def drained(executor, client):
    """Drain block 0, and forget the time: nothing is said of it."""
    executor.scale_out_facade(1)
    client.news(view("0", idle=100.0))
    executor.scale_in(1, max_idletime=5.0)
    return executor


def test_a_block_that_nobody_says_is_empty_is_given_back_after_the_time_of_silence(drained, client, caplog):
    drained.clock.now += THRESHOLD
    assert drained.give_back_emptied() == []
    drained.clock.now += 1
    assert drained.give_back_emptied() == ["0"]
    assert "Block 0 of executor htex is given back as it is: it has no task" in caplog.text


def test_a_block_with_a_task_is_waited_for_however_long_it_runs(drained, client):
    client.news(view("0", tasks=1))
    drained.blocks_changed = [].append
    drained.clock.now += 100_000
    assert drained.give_back_emptied() == []
    client.emptied("0")
    assert drained.give_back_emptied() == ["0"]


@pytest.mark.parametrize("trouble", [CommandClientTimeoutError(), CommandClientBadError()])
def test_an_interchange_that_says_nothing_at_all_is_not_waited_for(drained, client, trouble, caplog):
    client.commands.trouble = trouble
    assert drained.give_back_emptied() == []
    drained.clock.now += THRESHOLD + 1
    assert drained.give_back_emptied() == ["0"]
    assert "whether it is empty was not said in 121 s" in caplog.text


# -- managers as witnesses ---------------------------------------------------------------------------------------------


def test_managers_that_come_and_go_are_told_to_the_keeper(executor, client):
    told = []
    executor.blocks_changed = told.append
    executor.scale_out_facade(1)
    client.news(view("0"))
    executor.believe_managers()
    assert states(executor) == {"0": JobState.RUNNING}
    client.news(view("0", tasks=1))
    client.news(gone=["m0"])
    assert told == [False, True]
    assert executor.connected_blocks() == ["0"]
    executor.blocks_changed = None
    client.news(view("0"))


@pytest.mark.parametrize("state", [JobState.UNKNOWN, JobState.MISSING, JobState.COMPLETED, JobState.PENDING])
def test_a_provider_that_denies_a_block_is_believed_once_its_managers_are_gone(executor, client, state, caplog):
    executor.block_error_handler = lambda *_: None
    executor.scale_out_facade(1)
    client.news(view("0"))
    executor.provider.states["job-1"] = JobStatus(state)
    executor.poll_facade()
    assert states(executor) == {"0": JobState.RUNNING}
    assert f"the provider says {state.name}" in executor.status()["0"].message
    client.news(gone=["m0"])
    executor.poll_facade()
    assert states(executor) == {"0": state}
    denials = [r for r in caplog.records if r.levelname == "WARNING" and "are connected" in r.getMessage()]
    assert len(denials) == JobStatus(state).terminal


def test_a_manager_can_be_held(executor, client):
    executor.hold_worker("m0")
    assert client.held == ["m0"]
