"""The executor's process in the Flux instance: hands calls to Flux as jobs, and tells the executor how they end.

Started by `flux start` in the block that the provider gave. It connects to the executor, which knows it by the keys of
this run; it ends when the executor says so, and when the executor is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

import msgspec
import zmq

from parsl.curvezmq import ClientContext
from parsl.executors.flux import messages
from parsl.executors.flux.job import answer_path
from parsl.executors.flux.messages import CallFile
from parsl.executors.high_throughput.probe import UnreachableError, probe_addresses
from parsl.executors.high_throughput.zmq_pipes import Pipe
from parsl.loop import Loop

_PROBE_SECONDS = 30.0
# How much of what a job without an answer has printed is told.
_TAIL_BYTES = 2000


class Job:
    """A call that has been handed to Flux.

    Attributes:
        future: Flux's own.
        path: the file of the call; answers and output are beside it.
        ranks: how many processes make the call.
        started: whether the job runs or has run.
        dropping: whether the executor waits to hear that the job was cancelled.
    """

    __slots__ = ("dropping", "future", "path", "ranks", "started")

    def __init__(self, future: Any, path: str, ranks: int) -> None:
        self.future = future
        self.path = path
        self.ranks = ranks
        self.started = False
        self.dropping = False


class Instance:
    """What runs in the Flux instance.

    Args:
        loop: the loop of the process.
        context: makes the socket.
        url: where the executor listens.
        folder: an existing folder for the files of jobs, which all nodes of the instance share.
    """

    def __init__(self, loop: Loop, context: ClientContext, url: str, folder: str) -> None:
        self._loop = loop
        self._folder = folder
        self._flux: Any = None
        self._executor: Any = None
        self._path: tuple[str, ...] = ()
        self._jobs: dict[int, Job] = {}
        link = context.socket(zmq.DEALER)
        link.set_hwm(0)
        link.linger = 0
        events = link.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._events = Pipe(loop, events, self._on_event)
        self._monitored = link
        link.connect(url)
        self._link = Pipe(loop, link, self._received)
        self._send(messages.Hello(socket.gethostname(), os.getpid(), self._import_flux()))

    def _import_flux(self) -> str:
        """Load Flux's library; return why it cannot be used."""
        try:
            import flux.job
        except ImportError as e:
            return (
                f"{sys.executable} on {socket.gethostname()} cannot import flux.job ({e}): install flux-python for it, "
                "or put the folder of Flux's own Python library on PYTHONPATH in the provider's worker_init"
            )
        self._flux = flux
        return ""

    # -- messages --------------------------------------------------------------------------------------------------

    def _send(self, message: messages.ToExecutor, *frames: bytes) -> None:
        self._link.send([messages.encode(message), *frames])

    def _received(self, frames: list[bytes]) -> None:
        message = messages.for_instance(frames[0])
        if isinstance(message, messages.Setup):
            self._set_up(message)
        elif isinstance(message, messages.Run):
            try:
                self._run(message, frames[1])
            except Exception as e:  # noqa: BLE001 - what Flux says to a job is the error of this one task
                self._send(messages.Ended(message.number, f"Flux did not take the job: {type(e).__name__}: {e}"))
        elif isinstance(message, messages.Drop):
            self._drop(message.number)
        elif isinstance(message, messages.Stop):
            self.stop("the executor said so")

    def _set_up(self, message: messages.Setup) -> None:
        self._path = message.path
        try:
            self._executor = self._flux.job.FluxExecutor(**message.flux_executor_kwargs)
        except Exception as e:  # noqa: BLE001 - whatever it is, nothing can run, and the executor is told why
            self.stop(f"Flux could not be reached: {type(e).__name__}: {e}")

    def _on_event(self, _: list[bytes]) -> None:
        self.stop("the connection to the executor broke")

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _run(self, message: messages.Run, call: bytes) -> None:
        number, resources = message.number, message.resources
        path = os.path.join(self._folder, str(number))
        with open(path, "wb") as file:
            file.write(msgspec.msgpack.encode(CallFile(self._path, call)))
        ranks = resources.get("num_tasks", 1)
        jobspec = self._flux.job.JobspecV1.from_command(
            [sys.executable, "-m", "parsl.executors.flux.job", path],
            num_tasks=ranks,
            cores_per_task=resources.get("cores_per_task", 1),
            gpus_per_task=resources.get("gpus_per_task") or None,
            num_nodes=resources.get("num_nodes") or None,
        )
        jobspec.cwd = os.getcwd()
        jobspec.environment = dict(os.environ)
        jobspec.stdout = jobspec.stderr = f"{path}.output"
        future = self._executor.submit(jobspec)
        self._jobs[number] = Job(future, path, ranks)
        # Flux calls on its own threads.
        future.add_event_callback("start", lambda *_: self._loop.post(self._started, number))
        future.add_done_callback(lambda f: self._loop.post(self._ended, number, f))

    def _started(self, number: int) -> None:
        job = self._jobs.get(number)
        if job is not None:
            job.started = True
            self._send(messages.Started(number))

    def _drop(self, number: int) -> None:
        job = self._jobs.get(number)
        if job is None or job.started:
            self._send(messages.Dropped(number, done=False))
            return
        job.dropping = True
        # As long as Flux's executor has not submitted the job, its future can be cancelled; then only the job can.
        if not job.future.cancel():
            job.future.add_jobid_callback(self._cancel_job)

    def _cancel_job(self, future: Any) -> None:
        """Cancel the job of a future that has its number; on any thread."""
        # A job that could not be submitted has no number; and one that has ended meanwhile cannot be cancelled.
        with contextlib.suppress(Exception):
            # A connection to Flux belongs to one thread.
            self._flux.job.cancel(self._flux.Flux(), future.jobid(0))

    def _ended(self, number: int, future: Any) -> None:
        job = self._jobs.pop(number, None)
        if job is None:
            return
        answers = [a for rank in range(job.ranks) if (a := _read(answer_path(job.path, rank))) is not None]
        # The last of them: that of a rank that failed, if any did.
        answer = answers[-1] if answers else None
        if job.dropping:
            self._send(messages.Dropped(number, done=answer is None and not job.started))
        if answer is not None:
            self._send(messages.Ended(number), answer)
        else:
            self._send(messages.Ended(number, _trouble(future, f"{job.path}.output")))
        self._clean_up(job)

    def _clean_up(self, job: Job) -> None:
        output = f"{job.path}.output"
        paths = [job.path, *(answer_path(job.path, rank) for rank in range(job.ranks))]
        if not os.path.exists(output) or not os.path.getsize(output):
            paths.append(output)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    # -- end -------------------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Cancel all jobs and end."""
        self._send(messages.Bye(reason))
        for job in list(self._jobs.values()):
            if not job.future.cancel():
                job.future.add_jobid_callback(self._cancel_job)
        self._loop.stop()

    def close(self) -> None:
        """Let go of Flux and of the connection, after the loop has ended."""
        if self._executor is not None:
            # Their jobs have been cancelled; nobody waits for their ends.
            self._executor.shutdown(wait=True)
        self._monitored.disable_monitor()
        self._events.close()
        self._link.close(linger=1000)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _trouble(future: Any, output: str) -> str:
    """Say why the job of a future has left no answer."""
    if future.cancelled():
        return "the job was cancelled"
    exception = future.exception()
    what = f"the job ended with exit code {future.result()}" if exception is None else f"Flux says: {exception}"
    printed = (_read(output) or b"")[-_TAIL_BYTES:].decode(errors="replace").strip()
    return f"{what}; it printed:\n{printed}" if printed else what


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Runs tasks as jobs of this Flux instance.")
    parser.add_argument("--certificates", required=True, help="the folder with the keys of this run")
    parser.add_argument("--folder", required=True, help="a folder that all nodes share, for the files of jobs")
    parser.add_argument("protocol", help="how to connect to the executor: tcp")
    parser.add_argument("addresses", help="where the executor may be reached, separated by commas")
    parser.add_argument("port", type=int, help="at which port")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process.

    Returns:
        The exit code: 1 when the executor cannot be reached.
    """
    options = _parser().parse_args(arguments)
    try:
        address = probe_addresses(options.addresses.split(","), options.port, _PROBE_SECONDS)
    except UnreachableError as e:
        print(f"The executor cannot be reached: {e}", file=sys.stderr)
        return 1
    os.makedirs(options.folder, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="jobs-", dir=os.path.abspath(options.folder))
    context = ClientContext(options.certificates, ipv6=True)
    loop = Loop()
    url = f"{options.protocol}://{f'[{address}]' if ':' in address else address}:{options.port}"
    instance = Instance(loop, context, url, folder)
    signal.signal(signal.SIGTERM, lambda *_: loop.post(instance.stop, "it was told to end by a signal"))
    try:
        loop.run()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        instance.close()
        context.destroy()
        if not any(name.endswith(".output") for name in os.listdir(folder)):
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
