"""How the factory that starts TaskVine's workers is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TaskVineFactoryConfig:
    """How the factory that starts TaskVine's workers is made.

    Attributes:
        factory_timeout: seconds without a manager after which the factory ends.
        scratch_dir: folder for the factory's files; None for the run folder.
        min_workers: workers to have at least.
        max_workers: workers to have at most.
        workers_per_cycle: workers to start at most in 30 seconds.
        worker_options: options of the worker.
        worker_executable: program of the worker.
        worker_timeout: seconds without work after which a worker ends.
        cores: cores of each worker; None for all that there are.
        gpus: GPUs of each worker; None for all that there are.
        memory: memory of each worker, in MB; None for all that there is.
        disk: disk of each worker, in MB; None for half of what there is.
        python_env: packed Python environment (`.tar.gz`) in which workers run; None for none.
        batch_type: where workers are started: `local`, `condor`, `slurm`, `uge` and so on, see `vine_factory --help`.
        condor_requirements: requirements of workers as jobs of HTCondor.
        batch_options: options for the batch system.
    """

    factory_timeout: int = 300
    scratch_dir: str | None = None
    min_workers: int = 1
    max_workers: int = 1
    workers_per_cycle: int = 1
    worker_options: str | None = None
    worker_executable: str = "vine_worker"
    worker_timeout: int = 300
    cores: int | None = None
    gpus: int | None = None
    memory: int | None = None
    disk: int | None = None
    python_env: str | None = None
    batch_type: str = "local"
    condor_requirements: str | None = None
    batch_options: str | None = None

    # Where the manager is: set by the executor.
    _project_port: int = 0
    _project_address: str | None = None
    _project_name: str | None = None
    _project_password_file: str | None = None
