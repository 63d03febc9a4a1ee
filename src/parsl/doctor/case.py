"""What is looked at: one executor with what it runs on, and where that is."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any, NamedTuple

from parsl.executors.base import ParslExecutor
from parsl.providers.batch_system import BatchSystem
from parsl.providers.cloud import CloudProvider
from parsl.providers.local.local import LocalProvider

__all__ = ["Case", "Place"]


class Place(Enum):
    """Where blocks run, as far as it matters for what has to be there."""

    HERE = "on this host"
    CLUSTER = "on a cluster's nodes"
    CLOUD = "in a cloud"


class Case(NamedTuple):
    """One executor of a configuration.

    Attributes:
        executor: The executor; not started.
        run_dir: Folder for runs, from the configuration.
        strategy: The configuration's strategy.
    """

    executor: ParslExecutor
    run_dir: str
    strategy: str | None = "simple"

    @property
    def provider(self) -> Any:
        """Where the executor's blocks come from; None where there are none."""
        return getattr(self.executor, "provider", None)

    @property
    def place(self) -> Place:
        """Where its blocks run; a provider that is not known is taken for one of a cluster."""
        if self.provider is None or isinstance(self.provider, LocalProvider):
            return Place.HERE
        return Place.CLOUD if isinstance(self.provider, CloudProvider) else Place.CLUSTER

    @property
    def batch_system(self) -> BatchSystem | None:
        """The provider, if it is one of a batch system."""
        return self.provider if isinstance(self.provider, BatchSystem) else None

    @property
    def title(self) -> str:
        """What people call it."""
        on = "" if self.provider is None else f" on {type(self.provider).__name__}"
        return f"executor {self.executor.label}: {type(self.executor).__name__}{on}"

    @property
    def script_dir(self) -> str:
        """Where the scripts of blocks go."""
        return str(getattr(self.provider, "script_dir", None) or os.path.join(self.run_dir, "NNN", "submit_scripts"))

    def option(self, name: str, default: Any = None) -> Any:
        """Return an option of the executor, or the default where its class has none."""
        return getattr(self.executor, name, default)
