"""One task on each executor, with a look at its block meanwhile."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any

from parsl.config import Config
from parsl.doctor.findings import Finding, fail, ok, tail, warn
from parsl.doctor.report import Report
from parsl.executors.base import ParslExecutor
from parsl.jobs.states import JobState, JobStatus

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel

__all__ = ["judge_portrait", "portrait", "run_trial"]

_LOOK = 0.25
"""Seconds between two looks at what is known of blocks; the batch system is not asked for that."""


def portrait(run_dir: str) -> dict[str, Any]:
    """Tell what a worker is like; this is the task.

    Args:
        run_dir: The run's folder, to see whether it is there too.
    """
    import os
    import platform
    import socket
    import sys

    from parsl.version import VERSION

    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "parsl": VERSION,
        "sees_run_dir": os.path.isdir(run_dir),
    }


def run_trial(config: Config, labels: Sequence[str], seconds: float, report: Report) -> None:
    """Run one task on each of some executors, all at the same time, each with one block.

    Args:
        config: The configuration; its executors are started, and shut down again.
        labels: Those executors to try.
        seconds: How long a task may take, waiting in queues included.
        report: Where findings go.
    """
    from parsl.dataflow.dflow import DataFlowKernel

    executors = [executor for executor in config.executors if executor.label in labels]
    report.section("one task on each executor")
    for executor in config.executors:
        if executor not in executors:
            report.event(f"{executor.label}: not tried, as something above has failed")
    if not executors:
        return
    for executor in executors:
        _limit_blocks(executor)
    # Strategy and retries would ask for a second block where the first one shows what is wrong.
    trial = Config(
        executors=executors, run_dir=config.run_dir, strategy="none", initialize_logging=config.initialize_logging
    )
    try:
        kernel = DataFlowKernel(trial)
    except Exception as error:  # noqa: BLE001 - whatever an executor raises at its start is the finding
        remedy = "the text says what could not be started"
        report.add(fail("start", "the executors cannot be started", f"{type(error).__name__}: {error}", remedy))
        return
    try:
        report.event(f"logs are in {kernel.run_dir}")
        _watch(kernel, executors, seconds, report)
    finally:
        kernel.cleanup()


def _limit_blocks(executor: ParslExecutor) -> None:
    provider = getattr(executor, "provider", None)
    if provider is not None:
        provider.init_blocks = provider.max_blocks = 1
        provider.min_blocks = 0


def _resources(executor: ParslExecutor) -> dict[str, Any]:
    """Return what a call needs to say of resources: executors of MPI programs take no task without it."""
    if not getattr(executor, "enable_mpi_mode", False):
        return {}
    return {"parsl_resource_specification": {"num_nodes": 1, "ranks_per_node": 1, "num_ranks": 1}}


def _watch(kernel: DataFlowKernel, executors: Sequence[ParslExecutor], seconds: float, report: Report) -> None:
    """Submit the tasks, and stay until each has an end or the time is over."""
    from parsl.app.python import PythonApp

    began = time.monotonic()
    tasks: dict[Future[Any], _Watched] = {}
    for executor in executors:
        app = PythonApp(portrait, data_flow_kernel=kernel, executors=[executor.label])
        tasks[app(kernel.run_dir, **_resources(executor))] = _Watched(executor, report)
    while tasks:
        done, _ = wait(tasks, timeout=_LOOK, return_when=FIRST_COMPLETED)
        taken = time.monotonic() - began
        for future in done:
            report.add_all(_judge_end(future, tasks.pop(future), taken))
        for future, watched in list(tasks.items()):
            watched.look(taken)
            verdict = watched.verdict(timed_out=taken > seconds, seconds=seconds)
            # A block may end well right after its task.
            if verdict is not None and not future.done():
                report.add(verdict)
                del tasks[future]


def _judge_end(future: Future[Any], watched: _Watched, taken: float) -> Iterator[Finding]:
    error = future.exception()
    watched.look(taken)
    label = watched.executor.label
    if error is None:
        yield from judge_portrait(label, future.result(), taken)
    else:
        yield watched.verdict() or fail("task", f"{label}: the task failed", f"{type(error).__name__}: {error}")


def judge_portrait(label: str, found: dict[str, Any], taken: float) -> Iterator[Finding]:
    """Compare the worker's side with this one.

    Args:
        label: The executor's.
        found: From `portrait`.
        taken: Seconds until the result was here.
    """
    here = portrait(os.curdir)
    ran = f"{label}: a task ran on {found['host']} after {taken:.1f} s"
    for name, called in (("python", "Python"), ("parsl", "parsl")):
        if found[name] != here[name]:
            reason = f"on the node: {found[name]}, from {found['executable']}\nhere: {here[name]}"
            remedy = "use the same environment on both sides: what is sent may not be understood otherwise"
            yield warn("task", f"{ran}, with another {called}", reason, remedy)
            return
    if not found["sees_run_dir"]:
        reason = "workers cannot see the run folder"
        remedy = "files and logs stay on the node; start the script in a folder that all nodes see"
        yield warn("task", ran, reason, remedy)
        return
    yield ok("task", f"{ran}, with the same Python and parsl")


class _Watched:
    """What is known of one executor's block, as it changes.

    Args:
        executor: It, started.
        report: Where changes are shown.
    """

    def __init__(self, executor: ParslExecutor, report: Report) -> None:
        self.executor = executor
        self._report = report
        self._shown: dict[str, tuple[JobState, str | None]] = {}

    @property
    def blocks(self) -> dict[str, JobStatus]:
        """The last known status of each block."""
        return dict(getattr(self.executor, "status_facade", {}))

    def look(self, taken: float) -> None:
        """Show what has changed."""
        for block_id, status in self.blocks.items():
            now = (status.state, status.message)
            if self._shown.get(block_id) != now:
                self._shown[block_id] = now
                job = getattr(self.executor, "blocks_to_job_id", {}).get(block_id)
                said = f": {_first_line(status.message)}" if status.message else ""
                called = f" (job {job})" if job else ""
                label = self.executor.label
                self._report.event(f"{taken:5.1f} s  {label}: block {block_id}{called} {status.status_name}{said}")

    def verdict(self, *, timed_out: bool = False, seconds: float = 0) -> Finding | None:
        """Say why no task will run, if that is so."""
        blocks = self.blocks
        ended = next((b for b in blocks if blocks[b].terminal), None)
        if ended is not None:
            return self._judge_ended(ended, blocks[ended])
        if not timed_out:
            return None
        label, waited = self.executor.label, f"no task ran within {seconds:g} s"
        block_id = next(iter(blocks), None)
        if block_id is None:
            return fail("task", f"{label}: {waited}", "no block was asked for", "see parsl.log in the run folder")
        status = blocks[block_id]
        if status.state is not JobState.RUNNING:
            remedy = "if the scheduler's reason is a full machine, give it more time with --timeout"
            text = f"{label}: {waited}: the block is {status.status_name}"
            return fail("task", text, status.message or "the scheduler gives no reason", remedy)
        remedy = "see whether a firewall keeps nodes from this host's address and port; see also the manager's log"
        text = f"{label}: {waited}, though the block is running"
        return fail("task", text, self._words(status), remedy)

    def _judge_ended(self, block_id: str, status: JobStatus) -> Finding:
        label = self.executor.label
        if block_id not in getattr(self.executor, "blocks_to_job_id", {}):
            text = f"{label}: block {block_id} could not be submitted"
            return fail("task", text, status.message or "", "the reason is the scheduler's own")
        code = "" if status.exit_code is None else f", exit code {status.exit_code}"
        text = f"{label}: block {block_id} ended before a task ran ({status.status_name}{code})"
        where = f"all of it is in {status.stderr_path}" if status.stderr_path else "see the block's script and output"
        return fail("task", text, self._words(status), f"correct what the block complains of; {where}")

    def _words(self, status: JobStatus) -> str:
        """Collect what scheduler, block and manager said."""
        parts = [status.message or ""]
        for name, text in (("standard error", status.stderr), ("standard output", status.stdout)):
            if last := tail(text):
                parts.append(f"the block's {name}:\n{last}")
        folder = glob.escape(getattr(self.executor, "worker_logdir", ""))
        for path in glob.glob(os.path.join(folder, "block-*", "*", "manager.log"))[:1]:
            with open(path, encoding="utf-8", errors="replace") as file:
                parts.append(f"the manager's log, {path}:\n{tail(file.read(), 4)}")
        return "\n".join(part for part in parts if part)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
