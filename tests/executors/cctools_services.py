"""The libraries and workers of cctools for tests that are marked `services`: from the scripts, or where they are."""

from __future__ import annotations

import os
import subprocess

from tests.cloud_services import script_of


def environment_of(name: str, *variables: str) -> dict[str, str]:
    """Return what the variables are after the service's `env` has been read by a shell."""
    script = script_of(name)
    shown = " ".join(f'"${v}"' for v in variables)
    command = f'eval "$(bash {script} env)"; printf "%s\\n" {shown}'
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    return dict(zip(variables, answer.stdout.splitlines(), strict=True))


def first_entry(path: str) -> str:
    """Return the first folder of a search path."""
    return path.split(os.pathsep, maxsplit=1)[0]


def hog(megabytes: int) -> None:
    """Take so much memory, until the engine ends the task."""
    import time

    held = b"x" * (megabytes * 1_000_000)
    while held:
        time.sleep(60)


def fill(megabytes: int) -> None:
    """Write a file of such a size, and wait until the engine ends the task."""
    import time

    with open("large", "wb") as file:
        file.write(b"x" * (megabytes * 1_000_000))
    while True:
        time.sleep(60)
