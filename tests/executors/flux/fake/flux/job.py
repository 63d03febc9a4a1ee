"""The stand-in's jobs: specifications, the executor, cancelling."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import threading

import flux


class JobException(Exception):
    """A job has met an exception of severity 0."""

    def __init__(self, kind, note):
        super().__init__(f"type={kind} note={note}")
        self.type = kind
        self.note = note


class JobspecV1:
    """What a job is to be."""

    @classmethod
    def from_command(cls, command, num_tasks=1, cores_per_task=1, gpus_per_task=None, num_nodes=None):
        for name, value in {"num_tasks": num_tasks, "cores_per_task": cores_per_task}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1 (got {value})")
        if num_nodes is not None and num_nodes > num_tasks:
            raise ValueError("node count must not be greater than task count")
        spec = cls()
        spec.command, spec.num_tasks, spec.cores_per_task = command, num_tasks, cores_per_task
        spec.gpus_per_task, spec.num_nodes = gpus_per_task, num_nodes
        spec.cwd, spec.environment, spec.stdout, spec.stderr = None, None, None, None
        return spec


class FluxExecutorFuture(concurrent.futures.Future):
    """The future of a job's exit code; negative for a signal."""

    def __init__(self):
        super().__init__()
        self._lock = threading.RLock()
        self._jobid = None
        self._jobid_callbacks = []
        self._seen = []
        self._event_callbacks = []

    def _set_jobid(self, jobid):
        with self._lock:
            self._jobid = jobid
            callbacks, self._jobid_callbacks = self._jobid_callbacks, []
        for callback in callbacks:
            callback(self)

    def _set_event(self, name):
        with self._lock:
            self._seen.append(name)
            callbacks = [c for event, c in self._event_callbacks if event == name]
        for callback in callbacks:
            callback(self, name)

    def jobid(self, timeout=None):
        if self._jobid is None:
            raise concurrent.futures.TimeoutError
        return self._jobid

    def add_jobid_callback(self, callback):
        with self._lock:
            if self._jobid is None:
                self._jobid_callbacks.append(callback)
                return
        callback(self)

    def add_event_callback(self, event, callback):
        with self._lock:
            self._event_callbacks.append((event, callback))
            seen = event in self._seen
        if seen:
            callback(self, event)


class Job(threading.Thread):
    """A job of the instance: waits for cores, runs its processes, tells its end."""

    def __init__(self, spec, future):
        super().__init__(name="flux-job")
        self.spec, self.future = spec, future
        self.cores = spec.num_tasks * spec.cores_per_task
        self.cancelled = False
        self.processes = []

    def run(self):
        broker = flux.BROKER
        with broker.lock:
            broker.lock.wait_for(lambda: self.cancelled or (broker.queue[0] is self and broker.free >= self.cores))
            broker.queue.remove(self)
            broker.lock.notify_all()
            if self.cancelled:
                self.future.set_exception(JobException("cancel", "job was cancelled"))
                return
            broker.free -= self.cores
            self.start_processes()
        self.future._set_event("start")
        codes = [p.wait() for p in self.processes]
        with broker.lock:
            broker.free += self.cores
            broker.lock.notify_all()
        if self.cancelled:
            self.future.set_exception(JobException("cancel", "job was cancelled"))
        else:
            self.future.set_result(next((c for c in codes if c), 0))

    def start_processes(self):
        spec = self.spec
        with open(spec.stdout or os.devnull, "ab") as out:
            for rank in range(spec.num_tasks):
                env = {**(spec.environment or {}), "FLUX_TASK_RANK": str(rank), "FLUX_JOB_SIZE": str(spec.num_tasks)}
                env["FLUX_JOB_NNODES"] = str(spec.num_nodes or 1)
                self.processes.append(
                    subprocess.Popen(
                        spec.command, cwd=spec.cwd, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL
                    )
                )

    def cancel(self):
        with flux.BROKER.lock:
            self.cancelled = True
            for process in self.processes:
                process.send_signal(signal.SIGTERM)
            flux.BROKER.lock.notify_all()


class FluxExecutor:
    """Submits jobs; its futures are the jobs'."""

    def __init__(self, threads=1, thread_name_prefix="", poll_interval=0.1, handle_args=(), handle_kwargs=None):
        flux.Flux(*handle_args, **(handle_kwargs or {}))
        self._threads = concurrent.futures.ThreadPoolExecutor(threads)
        self._jobs = []

    def submit(self, jobspec, **kwargs):
        future = FluxExecutorFuture()
        self._threads.submit(self._submit, jobspec, future)
        return future

    def _submit(self, jobspec, future):
        if not future.set_running_or_notify_cancel():
            return
        broker = flux.BROKER
        job = Job(jobspec, future)
        if job.cores > int(os.environ.get("FAKE_FLUX_CORES", "2")):
            future.set_exception(JobException("alloc", "unsatisfiable request"))
            return
        with broker.lock:
            jobid, broker.next_id = broker.next_id, broker.next_id + 1
            broker.jobs[jobid] = job
            broker.queue.append(job)
        self._jobs.append(job)
        job.start()
        future._set_jobid(jobid)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            for job in self._jobs:
                job.join()


def cancel(handle, jobid, reason=None):
    handle.check()
    flux.BROKER.jobs[jobid].cancel()
