"""The numbered folders in which runs keep their logs and files."""

from __future__ import annotations

import os

from parsl.errors import ConfigurationError


def make_rundir(path: str | os.PathLike[str]) -> str:
    """Make a new run folder.

    It is called by a number: the one after the largest among the names in `path`, files included, with at least three
    digits. Any number of processes may do so at once, and each gets a folder of its own.

    Args:
        path: the folder for all runs; it is made if need be.

    Returns:
        The absolute path of the new folder, such as `/home/me/runinfo/007`.

    Raises:
        ConfigurationError: when no folder can be made there.
    """
    home = os.path.abspath(path)
    try:
        os.makedirs(home, exist_ok=True)
        number = max((int(name) for name in os.listdir(home) if name.isascii() and name.isdigit()), default=-1) + 1
        while True:
            rundir = os.path.join(home, f"{number:03}")
            try:
                # To make it is the only test of whether it is there that no other process can come between.
                os.mkdir(rundir)
            except FileExistsError:
                number += 1
            else:
                return rundir
    except OSError as e:
        msg = f"No run folder can be made in {home}: {e.strerror or e}. Choose another place with Config(run_dir=...)."
        raise ConfigurationError(msg) from e
