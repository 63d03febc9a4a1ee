"""A provider and an executor that do nothing but remember; the provider answers late or raises when told to."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import ExecutionProvider


class Clock:
    """A clock that is turned by hand."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


class FakeProvider(ExecutionProvider):
    """Jobs are numbered; `states` says where each stands.

    Attributes:
        submitted: the commands and names of jobs.
        answering: while it is cleared, `status` does not return.
        asked: set when `status` is called; `asks` counts the calls.
        trouble: exceptions to raise, by the name of the method.
    """

    def __init__(self, init_blocks=1, min_blocks=0, max_blocks=10, parallelism=1.0, nodes_per_block=1, interval=1000):
        self.init_blocks, self.min_blocks, self.max_blocks = init_blocks, min_blocks, max_blocks
        self.parallelism, self.nodes_per_block = parallelism, nodes_per_block
        self.resources = {}
        self.script_dir = None
        self.interval = interval
        self.submitted = []
        self.states = {}
        self.cancelled = []
        self.refusing = set()
        self.trouble = {}
        self.asks = 0
        self.asked = threading.Event()
        self.answering = threading.Event()
        self.answering.set()
        self.changed = threading.Condition()

    label = "fake"

    @property
    def status_polling_interval(self):
        return self.interval

    def _maybe_raise(self, method):
        if method in self.trouble:
            raise self.trouble[method]

    def submit(self, command, tasks_per_node, job_name="parsl.auto"):
        self._maybe_raise("submit")
        with self.changed:
            self.submitted.append((command, tasks_per_node, job_name))
            job_id = f"job-{len(self.submitted)}"
            self.states[job_id] = JobStatus(JobState.PENDING)
            self.changed.notify_all()
        return job_id

    def status(self, job_ids):
        self.asks += 1
        self.asked.set()
        assert self.answering.wait(20)
        with self.changed:
            self.changed.notify_all()
        self._maybe_raise("status")
        return [self.states[j] for j in job_ids]

    def cancel(self, job_ids):
        self._maybe_raise("cancel")
        with self.changed:
            self.cancelled += job_ids
            self.changed.notify_all()
        return [j not in self.refusing for j in job_ids]

    def wait_for(self, condition):
        """Wait until something holds; it is looked at whenever this provider is asked for anything."""
        with self.changed:
            assert self.changed.wait_for(condition, 20)


class FakeExecutor(BlockProviderExecutor):
    """Has as many tasks as it is told, and connected blocks as they are named.

    Attributes:
        connected: blocks that have ever connected; `heard` are those connected now.
        idle: seconds of idleness by connected block, None for an executor that does not know.
        busy: blocks that are not empty when they are drained, until `_on_emptied` is called.
        drained: blocks that were drained.
        overdue: blocks not to be waited for.
    """

    def __init__(self, provider, label="fake", workers=1, handler=False, run_dir="."):
        super().__init__(provider=provider, block_error_handler=handler)
        self.label = label
        self.workers = workers
        self.task_count = 0
        self.connected = set()
        self.heard = set()
        self.idle = None
        self.busy = set()
        self.drained = []
        self.overdue = set()
        self.leaving = set()
        self.failures = []
        self.scale_ins = []
        self.run_dir = run_dir

    def start(self):
        pass

    def submit(self, func, resource_specification, *args, **kwargs):
        return Future()

    def shutdown(self):
        pass

    def outstanding(self):
        return self.task_count

    @property
    def workers_per_node(self):
        return self.workers

    def _get_launch_command(self, block_id):
        return f"run {block_id}"

    def _fail_all(self, exception):
        self.failures.append(exception)

    def _has_been_connected(self, block_id):
        return block_id in self.connected

    def _is_connected(self, block_id):
        return block_id in self.heard

    def _idle_seconds(self):
        return self.idle

    def _leaving_blocks(self):
        return self.leaving

    def _start_drain(self, block_id):
        self.drained.append(block_id)
        if block_id not in self.busy:
            super()._start_drain(block_id)

    def _is_overdue(self, block_id, since):
        return block_id in self.overdue

    @property
    def tasks(self):
        return {}

    def scale_in(self, blocks, max_idletime=None):
        self.scale_ins.append((blocks, max_idletime))
        return super().scale_in(blocks, max_idletime)

    def states(self):
        return {b: s.state for b, s in self.status().items()}
