"""No-op tasks through an executor, and through its engine's own bare client: `python benchmarks/engines.py ENGINE`.

Each engine is a class with what it takes: `executor()`, one of ours that has not been started, and `bare()`, a context
that gives a function which submits a call to the bare client and returns a future. Two lines are printed: tasks a
second of a burst, and milliseconds of one task after another, ours first; medians of some rounds, in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0

Submit = Callable[..., Future[Any]]


def nothing() -> None:
    """Do nothing."""


class Engine:
    """One engine.

    Attributes:
        burst: tasks of a burst.
        chain: tasks one after another.
        rounds: how often both are measured.
    """

    burst = 1000
    chain = 100
    rounds = 1

    def executor(self) -> Any:
        """Make an executor of ours."""
        raise NotImplementedError

    @contextlib.contextmanager
    def bare(self) -> Iterator[Submit]:
        """Give what submits a call to the engine's own client."""
        raise NotImplementedError


class Globus(Engine):
    """Globus Compute's SDK, on the stand-in for its service that the tests use; needs a Python that has the SDK."""

    burst = 200
    chain = 5

    def __init__(self) -> None:
        import globus_compute_sdk.sdk.client

        sys.path.insert(0, str(ROOT))
        from tests.executors.globus_service import running

        self._stack = contextlib.ExitStack()
        _, url = self._stack.enter_context(running(2))
        globus_compute_sdk.sdk.client.get_web_service_url = lambda *_: url
        print("(a stand-in for the service)")

    def _sdk(self) -> Any:
        import uuid

        from globus_compute_sdk import Client, Executor
        from globus_sdk.authorizers import NullAuthorizer

        client = Client(authorizer=NullAuthorizer())
        return Executor(endpoint_id=uuid.uuid4(), client=client, api_burst_limit=8, api_burst_window_s=1)

    def executor(self) -> Any:
        """Make an executor of ours."""
        from parsl.executors.globus_compute import GlobusComputeExecutor

        return GlobusComputeExecutor(self._sdk())

    @contextlib.contextmanager
    def bare(self) -> Iterator[Submit]:
        """Give what submits a call to the SDK's executor."""
        with self._sdk() as sdk:
            yield sdk.submit


class Pool(Engine):
    """A ProcessPoolExecutor of the standard library."""

    rounds = 9

    def executor(self) -> Any:
        """Make an executor of ours."""
        from parsl.executors.futures import FuturesExecutor

        return FuturesExecutor(lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")))

    @contextlib.contextmanager
    def bare(self) -> Iterator[Submit]:
        """Give what submits a call to the pool."""
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool.submit


class Dask(Engine):
    """A local cluster of Dask with two workers; needs a Python that has Dask."""

    burst = 500
    rounds = 5

    def __init__(self) -> None:
        from distributed import LocalCluster

        self._cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")

    def executor(self) -> Any:
        """Make an executor of ours."""
        from parsl.executors.dask import DaskExecutor

        return DaskExecutor(address=self._cluster.scheduler_address)

    @contextlib.contextmanager
    def bare(self) -> Iterator[Submit]:
        """Give what submits a call to Dask's client."""
        from distributed import Client

        with Client(self._cluster.scheduler_address) as client:
            yield lambda function: client.submit(function, pure=False)


class Ray(Engine):
    """A local cluster of Ray with two workers; needs a Python that has Ray."""

    rounds = 7

    def __init__(self) -> None:
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)

    def executor(self) -> Any:
        """Make an executor of ours."""
        from parsl.executors.ray import RayExecutor

        return RayExecutor()

    @contextlib.contextmanager
    def bare(self) -> Iterator[Submit]:
        """Give what calls a remote function of Ray."""
        import ray

        remote = ray.remote(nothing)
        yield lambda _: remote.remote().future()


class Flux(Engine):
    """Flux, or what stands in for it where there is none: each job is a process that starts Python."""

    burst = 20
    chain = 5

    def __init__(self) -> None:
        import shutil

        self._flux = shutil.which("flux") or self._stand_in()

    def _stand_in(self) -> str:
        fake = ROOT / "tests" / "executors" / "flux" / "fake"
        path = Path(tempfile.mkdtemp()) / "flux"
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {fake / "flux_command.py"} "$@"\n')
        path.chmod(0o755)
        os.environ["FAKE_FLUX"] = "1"
        sys.path.insert(0, str(fake))
        print("(a stand-in for Flux)")
        return str(path)

    def executor(self) -> Any:
        """Make an executor of ours."""
        from parsl.executors.flux.executor import FluxExecutor

        return FluxExecutor(flux_path=self._flux)

    @contextlib.contextmanager
    def bare(self) -> Iterator[Submit]:
        """Give what submits a job that starts Python and loads what a call needs."""
        import flux.job

        executor = flux.job.FluxExecutor()
        command = [sys.executable, "-c", "import parsl.executors.remote_call"]

        def submit(_: Any) -> Future[Any]:
            jobspec = flux.job.JobspecV1.from_command(command)
            jobspec.environment, jobspec.cwd = dict(os.environ), os.getcwd()
            return executor.submit(jobspec)  # type: ignore[no-any-return]

        yield submit
        executor.shutdown()


class Radical(Engine):
    """RADICAL-Pilot on this host; needs a Python that has it."""

    burst = 200
    chain = 20

    def executor(self) -> Any:
        """Make an executor of ours."""
        from parsl.executors.radical import RadicalPilotExecutor, ResourceConfig

        settings = ResourceConfig()
        settings.worker_type, settings.worker_cores_per_node = "MPIWorker", 2
        return RadicalPilotExecutor("local.localhost", rpex_cfg=settings, cores=4, runtime=10, bulk_mode=True)

    @contextlib.contextmanager
    def bare(self) -> Iterator[Submit]:
        """Give what submits a function to RADICAL's workers."""
        import radical.pilot as rp

        session, open_ = rp.Session(cfg={"base": tempfile.mkdtemp()}), {}
        pilots, tasks = rp.PilotManager(session=session), rp.TaskManager(session=session)

        def ended(task: Any, state: str) -> None:
            if state in {"DONE", "FAILED", "CANCELED"} and task.uid in open_:
                open_.pop(task.uid).set_result(state)

        tasks.register_callback(ended)
        pilot = pilots.submit_pilots(rp.PilotDescription({"resource": "local.localhost", "cores": 4, "runtime": 10}))
        tasks.add_pilots(pilot)
        (raptor,) = pilot.submit_raptors([rp.TaskDescription({"mode": rp.RAPTOR_MASTER, "ranks": 1})])
        worker = {"mode": rp.RAPTOR_WORKER, "raptor_class": "MPIWorker", "ranks": 2}
        raptor.submit_workers([rp.TaskDescription(worker)])
        numbers = iter(range(10**9))

        def submit(function: Any) -> Future[Any]:
            entries = {
                "mode": rp.TASK_FUNCTION,
                "function": rp.PythonTask(function),
                "uid": f"bare.{next(numbers):06d}",
            }
            description, future = rp.TaskDescription(entries), Future[Any]()
            open_[description.uid] = future
            raptor.submit_tasks([description])
            return future

        yield submit
        session.close(download=False)


ENGINES: dict[str, type[Engine]] = {
    "dask": Dask,
    "flux": Flux,
    "globus": Globus,
    "pool": Pool,
    "radical": Radical,
    "ray": Ray,
}


def measure(submit: Submit, engine: Engine) -> tuple[float, float]:
    """Return tasks a second of a burst, and milliseconds of one task after another."""
    submit(nothing).result(PATIENCE)
    begun = time.perf_counter()
    for future in [submit(nothing) for _ in range(engine.burst)]:
        future.result(PATIENCE)
    rate = engine.burst / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for _ in range(engine.chain):
        submit(nothing).result(PATIENCE)
    return rate, (time.perf_counter() - begun) / engine.chain * 1000


def ours(engine: Engine) -> tuple[float, float]:
    """Measure an executor of ours, in a kernel."""
    config = Config(executors=[engine.executor()], run_dir=tempfile.mkdtemp(), strategy="none")
    with DataFlowKernel(config) as kernel:
        app = python_app(nothing, data_flow_kernel=kernel)
        return measure(lambda _: app(), engine)


def main() -> None:
    """Measure one engine."""
    parser = argparse.ArgumentParser(description="Measure an executor beside its engine's own client.")
    parser.add_argument("engine", choices=sorted(ENGINES))
    engine = ENGINES[parser.parse_args().engine]()
    found: list[tuple[float, float, float, float]] = []
    for _ in range(engine.rounds):
        with engine.bare() as submit:
            bare = measure(submit, engine)
        found.append((*ours(engine), *bare))
    our_rate, our_latency, rate, latency = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"burst    {our_rate:9.1f} tasks/s, bare {rate:9.1f} ({our_rate / rate:.0%})")
    print(f"one by one {our_latency:7.2f} ms,    bare {latency:9.2f} ({our_latency / latency:.0%})", flush=True)


if __name__ == "__main__":
    main()
    # Threads of some engines never end.
    os._exit(0)
