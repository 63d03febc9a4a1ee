"""What can be wrong with a launcher."""

from __future__ import annotations

from parsl.providers.errors import ExecutionProviderException


class BadLauncher(ExecutionProviderException, TypeError):
    """What a provider got as its launcher can't be called.

    Args:
        launcher: What it got.
    """

    def __init__(self, launcher: object) -> None:
        super().__init__(launcher)
        self.launcher = launcher

    def __str__(self) -> str:
        return (
            "A launcher is a parsl.launchers.Launcher, or another callable that takes a command, tasks per node and "
            f"nodes per block, but got {type(self.launcher).__name__}: {self.launcher!r}"
        )
