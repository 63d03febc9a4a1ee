from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

import parsl.providers
from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import SimpleLauncher, SingleNodeLauncher
from parsl.launchers.errors import BadLauncher
from parsl.providers.base import ExecutionProvider, launcher_or_default

GOOD: dict[str, Any] = {
    "nodes_per_block": 1,
    "init_blocks": 0,
    "min_blocks": 0,
    "max_blocks": 0,
    "parallelism": 0,
}


class Minimal(ExecutionProvider):
    """As little as a provider from elsewhere may have."""

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        return "1"

    def status(self, job_ids: list[str]) -> list[JobStatus]:
        return [JobStatus(JobState.RUNNING) for _ in job_ids]

    def cancel(self, job_ids: list[str]) -> list[bool]:
        return [True for _ in job_ids]

    @property
    def label(self) -> str:
        return "minimal"

    @property
    def status_polling_interval(self) -> int:
        return 60


def test_five_members_make_a_provider() -> None:
    provider = Minimal()
    assert (provider.script_dir, provider.cores_per_node, provider.mem_per_node) == (None, None, None)
    provider.cores_per_node, provider.mem_per_node, provider.script_dir = 4, 2.5, "/scripts"
    assert (Minimal.cores_per_node, Minimal.mem_per_node, Minimal.script_dir) == (None, None, None)


@pytest.mark.parametrize("member", ["submit", "status", "cancel", "label", "status_polling_interval"])
def test_none_of_the_five_may_be_missing(member: str) -> None:
    others = {name: value for name, value in vars(Minimal).items() if not name.startswith("__") and name != member}
    with pytest.raises(TypeError, match=member):
        type("Partial", (ExecutionProvider,), others)()


def test_block_numbers_that_may_be_meant_pass() -> None:
    provider = Minimal()
    provider._set_block_numbers(**GOOD)
    provider._set_block_numbers(**(GOOD | {"min_blocks": 5, "init_blocks": 9}))
    assert (provider.min_blocks, provider.init_blocks, provider.nodes_per_block) == (5, 9, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodes_per_block", 0),
        ("init_blocks", -1),
        ("min_blocks", -1),
        ("max_blocks", -1),
        ("parallelism", -0.1),
        ("parallelism", math.nan),
    ],
)
def test_block_numbers_that_cannot_be_meant_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"Minimal: {name} has to be at least ., but is {value}"):
        Minimal()._set_block_numbers(**(GOOD | {name: value}))


def test_launchers() -> None:
    assert isinstance(launcher_or_default(None), SingleNodeLauncher)
    launcher = SimpleLauncher()
    assert launcher_or_default(launcher) is launcher
    with pytest.raises(BadLauncher):
        launcher_or_default("srun")  # type: ignore[arg-type]


def test_providers_are_imported_on_first_use() -> None:
    program = (
        "import sys, parsl.providers\n"
        "assert 'parsl.providers.local.local' not in sys.modules\n"
        "from parsl.providers import LocalProvider\n"
        "assert parsl.providers.LocalProvider is sys.modules['parsl.providers.local.local'].LocalProvider\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="NoSuchProvider"):
        _ = parsl.providers.NoSuchProvider
    assert "LocalProvider" in dir(parsl.providers)
