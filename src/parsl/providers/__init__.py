"""Providers: where blocks come from. Each is imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.providers.aws.aws import AWSProvider
    from parsl.providers.azure.azure import AzureProvider
    from parsl.providers.condor.condor import CondorProvider
    from parsl.providers.googlecloud.googlecloud import GoogleCloudProvider
    from parsl.providers.grid_engine.grid_engine import GridEngineProvider
    from parsl.providers.kubernetes.kube import KubernetesProvider
    from parsl.providers.local.local import LocalProvider
    from parsl.providers.lsf.lsf import LSFProvider
    from parsl.providers.pbspro.pbspro import PBSProProvider
    from parsl.providers.slurm.slurm import SlurmProvider
    from parsl.providers.torque.torque import TorqueProvider

__all__ = [
    "AWSProvider",
    "AzureProvider",
    "CondorProvider",
    "GoogleCloudProvider",
    "GridEngineProvider",
    "KubernetesProvider",
    "LSFProvider",
    "LocalProvider",
    "PBSProProvider",
    "SlurmProvider",
    "TorqueProvider",
]

_MODULE_OF = {
    "AWSProvider": "parsl.providers.aws.aws",
    "AzureProvider": "parsl.providers.azure.azure",
    "CondorProvider": "parsl.providers.condor.condor",
    "GoogleCloudProvider": "parsl.providers.googlecloud.googlecloud",
    "GridEngineProvider": "parsl.providers.grid_engine.grid_engine",
    "KubernetesProvider": "parsl.providers.kubernetes.kube",
    "LSFProvider": "parsl.providers.lsf.lsf",
    "LocalProvider": "parsl.providers.local.local",
    "PBSProProvider": "parsl.providers.pbspro.pbspro",
    "SlurmProvider": "parsl.providers.slurm.slurm",
    "TorqueProvider": "parsl.providers.torque.torque",
}


def __getattr__(name: str) -> Any:
    module_name = _MODULE_OF.get(name)
    if module_name is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(module_name), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
