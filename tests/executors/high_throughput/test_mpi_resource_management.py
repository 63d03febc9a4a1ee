"""Nodes and MPI tasks: tables first, then any history of arrivals, ends and deaths."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parsl.executors.errors import InvalidResourceSpecification, MissingResourceSpecification
from parsl.executors.high_throughput.messages import CANCELLED, DONE, WORKER_LOST, Payload, Result, Task
from parsl.executors.high_throughput.mpi_resource_management import MPIPool, NodeLedger
from tests.executors.high_throughput.test_pool import FakeHands

# -- the ledger --------------------------------------------------------------------------------------------------------


def ledger(nodes=4, most=None):
    return NodeLedger([f"n{i}" for i in range(nodes)], most or nodes)


def wait(book, *sizes, first=1, priority=math.inf):
    for task, size in enumerate(sizes, start=first):
        book.wait(task, size, priority)


def started(book):
    return [task for task, _ in book.assign()]


def test_tasks_get_nodes_of_their_own_in_the_block_s_order():
    book = ledger()
    wait(book, 1, 2, 1)
    assert book.assign() == [(1, ["n0"]), (2, ["n1", "n2"]), (3, ["n3"])]
    assert book.assign() == []


def test_nodes_come_back_and_are_given_again():
    book = ledger(2)
    wait(book, 2, 1)
    assert started(book) == [1]
    book.end(1)
    book.end(99)
    assert book.assign() == [(2, ["n0"])]
    assert (book.running, book.waiting) == (1, [])


def test_not_more_tasks_than_workers():
    book = ledger(4, most=2)
    wait(book, 1, 1, 1)
    assert started(book) == [1, 2]
    book.end(1)
    assert started(book) == [3]


def test_small_tasks_fill_gaps():
    book = ledger(4)
    wait(book, 3, 4, 1)
    assert book.assign() == [(1, ["n0", "n1", "n2"]), (3, ["n3"])]
    assert book.waiting == [2]


def test_a_large_task_is_passed_over_by_as_many_nodes_as_the_block_has_and_then_gets_them_all():
    book = ledger(2)
    wait(book, 1)
    assert started(book) == [1]
    wait(book, 2, *[1] * 10, first=2)
    assert started(book) == [3]
    book.end(1)
    assert started(book) == [4]
    for last in (3, 4):
        book.end(last)
        starts = started(book)
    assert starts == [2]
    book.end(2)
    assert started(book) == [5, 6]


def test_one_that_passes_counts_by_its_nodes():
    book = ledger(4)
    wait(book, 1)
    started(book)
    # Behind the one of four nodes, three and then one may start, and after that nothing.
    wait(book, 4, 3, first=2)
    assert started(book) == [3]
    book.end(3)
    wait(book, 2, 1, 1, first=4)
    assert started(book) == [5]
    assert book.wanted == 0
    book.end(1)
    book.end(5)
    assert started(book) == [2]


def test_priority_comes_first_and_passes_what_has_waited():
    book = ledger(2)
    wait(book, 2)
    started(book)
    wait(book, 2, first=2)
    wait(book, 2, first=3, priority=5)
    wait(book, 2, first=4, priority=-1.5)
    order = []
    for task in (1, 4, 3, 2):
        book.end(task)
        order += started(book)
    assert order == [4, 3, 2]


def test_a_task_of_less_priority_may_use_what_one_of_more_cannot():
    book = ledger(3)
    wait(book, 2)
    started(book)
    wait(book, 3, first=2, priority=0)
    wait(book, 1, first=3, priority=9)
    assert started(book) == [3]


@pytest.mark.parametrize(
    ("sizes", "most", "wanted"),
    [
        ([], 4, 4),
        ([], 2, 2),
        ([1], 4, 3),
        ([2], 4, 1),
        ([4], 4, 0),
        ([3, 3], 4, 1),
        ([3, 3, 3], 4, 0),
        ([1, 1], 2, 0),
    ],
)
def test_how_many_more_could_start(sizes, most, wanted):
    book = ledger(4, most)
    wait(book, *sizes)
    book.assign()
    assert book.wanted == wanted


# -- the pool ----------------------------------------------------------------------------------------------------------


class Hands(FakeHands):
    def __init__(self, room=100):
        super().__init__(room)
        self.refused = {}
        self.environments = {}

    def give(self, task):
        self.environments[task.id] = task.environment
        return super().give(task)

    def refuse(self, task_id, error):
        self.refused[task_id] = error


def environment(ranks, nodes):
    return Payload(msgspec.msgpack.encode({"nodes": ",".join(nodes), "ranks": str(ranks.total)}))


def pool_of(nodes=4, workers=None, prefetch=0, make=environment):
    hands = Hands()
    slots = range(workers or nodes)
    pool = hands.pool = MPIPool(hands, slots, prefetch, "n0", [f"n{i}" for i in range(nodes)], make)
    for slot in slots:
        hands.start_worker(slot)
        pool.worker_ready(slot)
    return pool, hands


def tasks(*sizes, first=1, **more):
    return [
        Task(n, 0, Payload(b""), {"num_nodes": size, "ranks_per_node": 2, **more})
        for n, size in enumerate(sizes, start=first)
    ]


def variables(hands, task):
    return msgspec.msgpack.decode(hands.environments[task].body)


def run_next(hands, slot):
    hands.take(slot)
    hands.claim(slot)


def end(hands, slot):
    hands.finish(slot)
    hands.read(slot)


def test_a_task_reaches_the_mailbox_with_its_nodes():
    pool, hands = pool_of(2)
    pool.add(tasks(1, 2))
    assert len(hands.mailbox) == 1
    assert variables(hands, 1) == {"nodes": "n0", "ranks": "2"}
    run_next(hands, 0)
    end(hands, 0)
    assert variables(hands, 2) == {"nodes": "n0,n1", "ranks": "4"}
    assert [r.id for r in pool.take_results()] == [1]
    assert pool.outstanding == 1


def test_what_does_not_fit_into_the_block_is_refused_at_once():
    pool, hands = pool_of(2)
    wrong = [Task(8, 0, Payload(b""), None), Task(9, 0, Payload(b""), {"num_nodes": 1})]
    pool.add([*tasks(3), *wrong, *tasks(1, first=2)])
    assert [type(hands.refused[n]) for n in (1, 8, 9)] == [
        InvalidResourceSpecification,
        MissingResourceSpecification,
        InvalidResourceSpecification,
    ]
    assert "needs 3 nodes, more than the block has (2: n0, n1)" in str(hands.refused[1])
    assert list(hands.environments) == [2]
    assert pool.outstanding == 1


def test_a_long_list_of_nodes_is_shortened_in_the_error():
    pool, hands = pool_of(9)
    pool.add(tasks(10))
    assert "(9: n0, n1, n2, n3, ...)" in str(hands.refused[1])


def test_variables_that_cannot_be_kept_fail_the_task_and_free_its_nodes():
    def full(ranks, nodes):
        if ranks.nodes == 2:
            raise OSError("no space left")
        return environment(ranks, nodes)

    pool, hands = pool_of(2, make=full)
    pool.add(tasks(2, 1))
    assert str(hands.refused[1]) == "no space left"
    assert list(hands.environments) == [2]
    assert pool.outstanding == 1


def test_the_nodes_of_a_lost_task_are_free_again():
    pool, hands = pool_of(2, workers=1)
    pool.add(tasks(2, 2))
    run_next(hands, 0)
    assert hands.die(0) is False
    assert [(r.id, r.status) for r in pool.take_results()] == [(1, WORKER_LOST)]
    assert variables(hands, 2)["nodes"] == "n0,n1"


def test_a_task_that_waits_for_nodes_is_not_taken_for_a_lost_one():
    pool, hands = pool_of(2, workers=2)
    pool.add(tasks(1, 2))
    hands.take(0)
    # It dies before it can claim the task; the one that waits is nobody's suspect.
    assert hands.die(0) is True
    pool.settle_suspects()
    assert [r.id for r in pool.take_results()] == [1]
    assert list(hands.environments) == [1, 2]


def test_a_task_that_is_taken_back_keeps_its_nodes():
    pool, hands = pool_of(2, workers=2)
    pool.add(tasks(1, 1))
    hands.take(0)
    before = dict(hands.environments)
    assert hands.die(0) is True
    assert hands.environments == before
    assert len(hands.mailbox) == 1
    pool.settle_suspects()
    assert [r.id for r in pool.take_results()] == [1]


def test_cancelled_tasks_free_their_nodes_wherever_they_are():
    pool, hands = pool_of(2, workers=2)
    pool.add(tasks(2, 2, 2, 2))
    run_next(hands, 0)
    assert pool.cancel([3], stop=True) is False, "it waits for nodes"
    assert pool.cancel([1], stop=True) is False
    assert hands.die(0) is False
    assert [(r.id, r.status) for r in pool.take_results()] == [(3, CANCELLED), (1, CANCELLED)]
    assert variables(hands, 2)["nodes"] == "n0,n1"
    assert pool.cancel([2], stop=True) is False, "it lies in the mailbox with its nodes"
    assert [(r.id, r.status) for r in pool.take_results()] == [(2, CANCELLED)]
    assert variables(hands, 4)["nodes"] == "n0,n1"
    assert len(hands.mailbox) == 1


def test_credit_follows_the_nodes():
    pool, hands = pool_of(4, prefetch=0)
    assert pool.tells_credit
    assert pool.credit == 4
    pool.add(tasks(2))
    assert pool.credit == 2, "one runs, and one more of the like would start"
    pool.add(tasks(2, first=2))
    assert pool.credit == 2
    run_next(hands, 0)
    end(hands, 0)
    assert pool.credit == 2
    assert pool_of(4, prefetch=3)[0].credit == 7


# -- any history -------------------------------------------------------------------------------------------------------


class Block(RuleBasedStateMachine):
    """Tasks of any size come, run, end and lose their workers."""

    @initialize(nodes=st.integers(1, 6), data=st.data())
    def start(self, nodes, data):
        self.nodes = nodes
        self.workers = data.draw(st.integers(1, nodes))
        self.pool, self.hands = pool_of(nodes, self.workers)
        self.open = {}
        self.ended = []
        self.passed = {}
        self.count = 0
        self.started_before = set()

    @rule(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5), priority=st.sampled_from([None, None, 1, 2]))
    def come(self, sizes, priority):
        batch = tasks(*sizes, first=self.count + 1, **({} if priority is None else {"priority": priority}))
        self.count += len(batch)
        self.open.update({t.id: (t.resources["num_nodes"], math.inf if priority is None else priority) for t in batch})
        self.pool.add(batch)
        for task in batch:
            assert (task.id in self.hands.refused) == (task.resources["num_nodes"] > self.nodes)
            if task.id in self.hands.refused:
                del self.open[task.id]

    def free_slots(self):
        return [slot for slot, w in self.hands.workers.items() if w.taken is None]

    def busy_slots(self):
        return [slot for slot, w in self.hands.workers.items() if w.taken is not None]

    @precondition(lambda self: self.hands.mailbox and self.free_slots())
    @rule(data=st.data())
    def take(self, data):
        run_next(self.hands, data.draw(st.sampled_from(self.free_slots())))

    @precondition(lambda self: self.busy_slots())
    @rule(data=st.data())
    def finish(self, data):
        end(self.hands, data.draw(st.sampled_from(self.busy_slots())))

    @precondition(lambda self: self.busy_slots())
    @rule(data=st.data())
    def die(self, data):
        slot = data.draw(st.sampled_from(self.busy_slots()))
        if self.hands.die(slot):
            self.pool.settle_suspects()
        self.pool.worker_ready(slot)

    @invariant()
    def no_node_is_shared_and_nobody_is_passed_too_often(self):
        for result in self.pool.take_results():
            assert result.status in {DONE, WORKER_LOST}
            self.ended.append(result.id)
            self.open.pop(result.id)
        running = [t for t in self.open if t in self.hands.environments]
        names = [n for t in running for n in variables(self.hands, t)["nodes"].split(",")]
        assert len(names) == len(set(names)) <= self.nodes
        assert all(len(variables(self.hands, t)["nodes"].split(",")) == self.open[t][0] for t in running)
        assert len(running) <= self.workers
        assert len(self.ended) == len(set(self.ended))
        self.count_passes()

    def count_passes(self):
        for task in sorted(set(self.hands.environments) - self.started_before):
            size = len(variables(self.hands, task)["nodes"].split(","))
            waiting = [t for t in self.open if t not in self.hands.environments]
            for other in waiting:
                # Only who waits since before it came, with no less priority, has been passed over.
                if other < task and task in self.open and self.open[other][1] <= self.open[task][1]:
                    self.passed[other] = self.passed.get(other, 0) + size
                    assert self.passed[other] <= self.nodes
        self.started_before = set(self.hands.environments)

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        # Each task ends when those that run do: none waits for ever.
        for _ in range(2 * self.count + 1):
            while self.hands.mailbox and self.free_slots():
                run_next(self.hands, self.free_slots()[0])
            for slot in self.busy_slots()[:1]:
                end(self.hands, slot)
            self.no_node_is_shared_and_nobody_is_passed_too_often()
        assert self.open == {}
        assert self.pool.idle
        assert self.pool.credit >= 1, "or nothing would come any more"


Block.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBlock = Block.TestCase


def test_small_tasks_that_never_cease_do_not_starve_a_large_one():
    pool, hands = pool_of(4)
    pool.add(tasks(*[1] * 4))
    number = 5
    pool.add(tasks(4, first=number))
    large, finished = number, 0
    while large not in hands.environments:
        pool.add(tasks(1, first=(number := number + 1)))
        while hands.mailbox:
            run_next(hands, next(s for s, w in hands.workers.items() if w.taken is None))
        end(hands, next(s for s, w in hands.workers.items() if w.taken is not None))
        finished += 1
        assert finished <= 8
    assert variables(hands, large)["nodes"] == "n0,n1,n2,n3"


@given(
    sizes=st.lists(st.integers(1, 4), max_size=30),
    workers=st.integers(1, 4),
    prefetch=st.integers(0, 3),
    choices=st.randoms(use_true_random=False),
)
def test_a_block_that_is_given_only_what_it_asks_for_runs_everything(sizes, workers, prefetch, choices):
    pool, hands = pool_of(4, workers, prefetch)
    queue, ended = tasks(*sizes), 0
    while ended < len(sizes):
        while queue and pool.outstanding < pool.credit:
            pool.add([queue.pop(0)])
        while hands.mailbox:
            run_next(hands, next(s for s, w in hands.workers.items() if w.taken is None))
        busy = [s for s, w in hands.workers.items() if w.taken is not None]
        assert busy, "nothing runs, and nothing more is asked for"
        end(hands, choices.choice(busy))
        ended += len(pool.take_results())
    assert pool.idle


def test_a_result_that_comes_twice_frees_nothing_twice():
    pool, hands = pool_of(2)
    pool.add(tasks(1, 1, 1))
    run_next(hands, 0)
    end(hands, 0)
    pool.done(Result(1, DONE, Payload(b"")))
    assert sorted(variables(hands, t)["nodes"] for t in (2, 3)) == ["n0", "n1"]


def test_a_ledger_gives_account_of_each_task():
    ledger = NodeLedger(["a", "b", "c", "d"], 4)
    for task, size in enumerate((2, 3, 4, 1)):
        ledger.wait(task, size)
    ledger.assign()
    block = {"nodes": 4, "free": 1, "running": 2, "most": 4}
    # The last one fills a gap; those before it have been passed over by one node.
    assert ledger.account(0) == {**block, "got": ["a", "b"]}
    assert ledger.account(3) == {**block, "got": ["c"]}
    waits = {**block, "passed": 1, "kept": False}
    assert ledger.account(1) == {**waits, "needs": 3, "ahead": 0, "ahead_nodes": 0}
    assert ledger.account(2) == {**waits, "needs": 4, "ahead": 1, "ahead_nodes": 3}
    assert ledger.account(9) == {}
    for task in range(10, 13):
        ledger.wait(task, 1)
        ledger.assign()
        ledger.end(task)
    ledger.wait(13, 1)
    ledger.assign()
    assert ledger.account(13)["kept"]


def test_a_pool_gives_account_of_its_nodes():
    pool, _ = pool_of(2)
    assert pool.whereabouts(1) == {}
