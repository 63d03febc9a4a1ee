"""Usage reports: sent if the user asked for it, to where the user said, or not at all."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from parsl.representation import RepresentationMixin, constructor_parameters
from parsl.usage_tracking.api import UsageInformation
from parsl.usage_tracking.delivery import deliver, parse_endpoint
from parsl.usage_tracking.levels import DISABLED, LEVEL_2, LEVEL_3, validate_level
from parsl.version import VERSION

logger = logging.getLogger(__name__)

ENDPOINT_VARIABLE = "PARSL_USAGE_TRACKING_ENDPOINT"
_FAILED_STATES = {"failed", "dep_fail"}


class Kernel(Protocol):
    """What a report is about; a DataFlowKernel is one."""

    @property
    def config(self) -> Any:
        """The configuration; its `usage_tracking` is the level."""

    @property
    def executors(self) -> Mapping[str, Any]:
        """Executors by label."""

    @property
    def run_id(self) -> str:
        """What reports of one run have in common; random."""

    @property
    def task_state_counts(self) -> Mapping[Any, int]:
        """Numbers of tasks by state; states are members of an enum."""


class UsageTracker:
    """Reports one run, at the level that its configuration has.

    Each report leaves from a thread of its own that lives no longer than that. A report that can't be made or delivered
    is dropped, with a DEBUG record in the log; a run never fails for it.

    Args:
        dfk: The kernel of the run.
        endpoint: Where reports go: "http://...", "https://...", "udp://host:port", or "host:port" for UDP; None for
            what the environment variable PARSL_USAGE_TRACKING_ENDPOINT says. Without either nothing is ever sent.
        timeout: Seconds that sending one report may take.

    Raises:
        ConfigurationError: There is no such level, or tracking is on and the endpoint makes no sense.
    """

    def __init__(self, dfk: Kernel, endpoint: str | None = None, *, timeout: float = 5) -> None:
        self.dfk = dfk
        self.timeout = timeout
        self.level = validate_level(dfk.config.usage_tracking)
        named = endpoint or os.environ.get(ENDPOINT_VARIABLE)
        self.endpoint = parse_endpoint(named) if named and self.level > DISABLED else None
        self._begun = time.monotonic()
        self._threads: list[threading.Thread] = []

    def send_start_message(self) -> None:
        """Report the start of the run."""
        self._begun = time.monotonic()
        self._send("start", self._start_report)

    def send_end_message(self) -> None:
        """Report the end of the run; at level 3 only."""
        if self.level >= LEVEL_3:
            self._send("end", self._end_report)

    def close(self, timeout: float = 10) -> None:
        """Wait until the reports have gone out.

        Args:
            timeout: How many seconds to wait at most for all of them.
        """
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start_report(self) -> dict[str, object]:
        import platform

        report: dict[str, object] = {
            "parsl": VERSION,
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": platform.system(),
            "machine": platform.machine(),
        }
        if self.level >= LEVEL_2:
            report["components"] = describe_components([self.dfk.config, *self.dfk.executors.values()])
        return report

    def _end_report(self) -> dict[str, object]:
        states = {state.name: count for state, count in self.dfk.task_state_counts.items()}
        return {
            "seconds": round(time.monotonic() - self._begun, 3),
            "tasks": sum(states.values()),
            "failed_tasks": sum(count for name, count in states.items() if name in _FAILED_STATES),
            "task_states": states,
            "blocks": sum(len(getattr(executor, "blocks_to_job_id", ())) for executor in self.dfk.executors.values()),
        }

    def _send(self, kind: str, make_report: Callable[[], dict[str, object]]) -> None:
        if self.endpoint is None:
            return
        try:
            report = {"report": kind, "level": self.level, "run": self.dfk.run_id, **make_report()}
        except Exception:  # a part of a configuration may be anybody's code
            logger.debug("Usage report not made", exc_info=True)
            return
        arguments = (self.endpoint, report, self.timeout)
        thread = threading.Thread(target=deliver, args=arguments, name="parsl-usage", daemon=True)
        self._threads.append(thread)
        thread.start()


def describe_components(components: Iterable[object]) -> list[dict[str, object]]:
    """Tell what a run is made of: the classes, and what they have to say in `get_usage_information`.

    A class from outside this package is called by the nearest class of this package that it is made from, or "other",
    as names of users' own classes are nobody's business.

    Args:
        components: Where to begin; the parts that they were constructed from follow, and so on, each once.

    Returns:
        For each a dict with `class` and what it tells.
    """
    found: dict[int, object] = {}
    waiting = list(components)
    while waiting:
        component = waiting.pop(0)
        if id(component) not in found:
            found[id(component)] = component
            waiting.extend(_parts_of(component))
    return [{"class": _public_name(type(each)), **_information(each)} for each in found.values()]


def _parts_of(component: object) -> list[object]:
    values: list[object] = []
    for parameter in constructor_parameters(type(component)):
        value = getattr(component, parameter.name, None)
        values.extend(value if isinstance(value, (list, tuple)) else [value])
    return [value for value in values if isinstance(value, (RepresentationMixin, UsageInformation))]


def _public_name(cls: type) -> str:
    names = (f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__)
    return next((name for name in names if name.startswith("parsl.")), "other")


def _information(component: object) -> Mapping[str, object]:
    return component.get_usage_information() if isinstance(component, UsageInformation) else {}
