"""How much of a pilot runs Python functions, and with which Python."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, ClassVar

from parsl.errors import ConfigurationError

WORKER_TYPES = {"DefaultWorker": "DefaultWorker", "MPIWorker": "MPIWorker", "MPI": "MPIWorker"}
"""What `worker_type` may be, and RADICAL-Pilot's name for it."""


class ResourceConfig:
    """What of a pilot is given to RADICAL's masters and workers, which run Python functions.

    Each attribute may be set on an object, or on the class for all objects. Executables (bash apps) get what masters
    and workers leave of the pilot.

    Attributes:
        masters: how many masters hand out functions; at least 1.
        cores_per_master: cores of each.
        workers: how many workers run functions; at least 1.
        worker_type: 'DefaultWorker' runs each function in a process of its own; 'MPIWorker' (or 'MPI') is one MPI
            program, whose ranks run functions, several of them together for a function that asks for `ranks`.
        nodes_per_worker: nodes over which a worker spreads; more than 1 for an MPIWorker only.
        worker_cores_per_node: cores of a worker on each node: so many functions run at once.
        worker_gpus_per_node: GPUs of a worker on each node.
        pilot_env_mode: 'client' runs workers with the Python environment of the pilot itself; 'named' with one that is
            prepared, or found, from the `pilot_env_*` that follow.
        pilot_env_name: name of that environment.
        pilot_env_type: 'venv', 'conda', or another kind that RADICAL-Pilot knows.
        pilot_env_path: folder of that environment, made there if it does not exist.
        pilot_env_setup: packages to install in it.
        pilot_env_pre_exec: shell commands before it is activated.
        python_v: version of Python in it, such as '3.11'.
    """

    masters: int = 1
    cores_per_master: int = 1
    workers: int = 1
    worker_type: str = "DefaultWorker"
    nodes_per_worker: int = 1
    worker_cores_per_node: int = 4
    worker_gpus_per_node: int = 0
    pilot_env_mode: str = "client"
    pilot_env_name: str = "parsl_env"
    pilot_env_type: str = "venv"
    pilot_env_path: str = ""
    pilot_env_setup: ClassVar[list[str]] = []
    pilot_env_pre_exec: ClassVar[list[str]] = []
    python_v: str = f"{sys.version_info[0]}.{sys.version_info[1]}"

    @classmethod
    def get_config(cls, path: str | None = None) -> dict[str, Any]:
        """Return the settings of the class by name; written to a file in JSON as well, if one is named.

        Args:
            path: a file, or a folder that gets the file `rpex.cfg`; None writes nothing.
        """
        settings = settings_of(cls)
        if path is not None:
            file_path = os.path.join(path, "rpex.cfg") if os.path.isdir(path) else path
            with open(file_path, "w", encoding="utf-8") as file:
                json.dump(settings, file, indent=2)
        return settings


_NAMES = tuple(ResourceConfig.__annotations__)


def settings_of(config: ResourceConfig | type[ResourceConfig]) -> dict[str, Any]:
    """Return the settings of a configuration by name."""
    return {name: getattr(config, name) for name in _NAMES}


def check(config: ResourceConfig) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigurationError: naming the setting.
    """
    for name in ("masters", "cores_per_master", "workers", "nodes_per_worker", "worker_cores_per_node"):
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            msg = f"ResourceConfig: {name} must be a whole number of at least 1, but is {value!r}"
            raise ConfigurationError(msg)
    if config.worker_type not in WORKER_TYPES:
        msg = f"ResourceConfig: worker_type must be one of {sorted(WORKER_TYPES)}, but is {config.worker_type!r}"
        raise ConfigurationError(msg)
    if config.nodes_per_worker > 1 and WORKER_TYPES[config.worker_type] != "MPIWorker":
        msg = "ResourceConfig: a worker on several nodes (nodes_per_worker) must be of worker_type 'MPIWorker'"
        raise ConfigurationError(msg)
    if config.pilot_env_mode not in {"client", "named"}:
        msg = f"ResourceConfig: pilot_env_mode must be 'client' or 'named', but is {config.pilot_env_mode!r}"
        raise ConfigurationError(msg)


def cores_needed(config: ResourceConfig) -> int:
    """Return how many cores of the pilot masters and workers take."""
    of_workers = config.workers * config.nodes_per_worker * config.worker_cores_per_node
    return config.masters * config.cores_per_master + of_workers
