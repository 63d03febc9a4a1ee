"""The script's Python environment, packed by poncho for workers that have none."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.cctools_command import RUNNER


def packed_environment(folder: str, extra: Sequence[str] = (), prefix: str | None = None) -> tuple[str, str]:
    """Pack a conda environment.

    Args:
        folder: where the package goes.
        extra: conda packages to put in beside; then a new environment is made of these, Python, and this package.
        prefix: folder or name of the environment; None for that of this process.

    Returns:
        Paths of the package, and of the program that enters it on a worker.

    Raises:
        OptionalModuleMissing: without poncho, which comes with the conda package `ndcctools`.
        ConfigurationError: when this process runs in no conda environment.
    """
    runner = environment_runner()
    try:
        from ndcctools.poncho import package_create
    except ImportError as e:
        names = ["ndcctools.poncho", *([e.name] if e.name and "poncho" not in e.name else [])]
        raise OptionalModuleMissing(names, "Packing an environment needs poncho: conda install ndcctools") from e
    package = os.path.join(folder, "environment.tar.gz")
    if extra:
        python = f"python={sys.version_info[0]}.{sys.version_info[1]}"
        packages = {"channels": ["conda-forge"], "dependencies": [python, "parsl", *extra]}
        package_create.pack_env_from_dict({"conda": packages}, package)
    else:
        prefix = prefix or os.environ.get("CONDA_PREFIX")
        if prefix is None:
            msg = "Only a conda environment can be packed, and CONDA_PREFIX names none"
            raise ConfigurationError(msg)
        package_create.pack_env(prefix, package)
    return package, runner


def environment_runner() -> str:
    """Return the path of the program that enters a packed environment.

    Raises:
        OptionalModuleMissing: when it is not on the PATH.
    """
    runner = shutil.which(RUNNER)
    if runner is None:
        raise OptionalModuleMissing([RUNNER], "This program of poncho has to be on the PATH: conda install ndcctools")
    return runner
