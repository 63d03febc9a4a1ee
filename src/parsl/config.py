"""The configuration of a kernel: values and their validation; nothing is started here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from parsl.dataflow.dependency_resolvers import DependencyResolver
from parsl.dataflow.memoization import BasicMemoizer, Memoizer, period_in_seconds
from parsl.dataflow.taskrecord import TaskRecord
from parsl.errors import ConfigurationError
from parsl.executors.base import ParslExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.logconfigs.base import LogConfig
from parsl.representation import RepresentationMixin
from parsl.usage_tracking.api import UsageInformation
from parsl.usage_tracking.levels import DISABLED, validate_level
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.monitoring import MonitoringHub


class Config(RepresentationMixin, UsageInformation):
    """What a kernel is to run on, and how.

    Args:
        executors: what runs tasks, each with a label of its own; one ThreadPoolExecutor by default.
        app_cache: whether `cache=True` of apps has an effect.
        checkpoint_files: checkpoint folders of earlier runs to take results from, for example
            `parsl.utils.get_all_checkpoints()`; None takes none.
        checkpoint_mode: when results are saved: None, 'task_exit', 'periodic', 'dfk_exit' or 'manual'.
        checkpoint_period: time between saves of mode 'periodic', as 'HH:MM:SS'; half an hour by default.
        dependency_resolver: how futures are found in arguments; None finds those that are arguments themselves, or
            items of `inputs`. See `parsl.dataflow.dependency_resolvers` for one that looks into containers.
        exit_mode: what the end of `with parsl.load(...)` does: 'cleanup' ends the kernel at once, 'wait' waits for all
            tasks first (unless the block raised), 'skip' leaves the kernel loaded.
        garbage_collect: forget tasks once they have ended, so that memory does not grow with the run.
        internal_tasks_max_threads: threads for join apps, lifted futures and staging.
        retries: how much the failures of a task may cost before it has failed for good.
        retry_handler: gives the cost of a failure from the exception and the task record; 1 by default.
        run_dir: folder in which each run makes a numbered folder of its own.
        std_autopath: chooses the path for AUTO_LOGNAME from the task record and 'stdout' or 'stderr'.
        strategy: how blocks follow the work: 'simple', 'htex_auto_scale', 'none' or None.
        strategy_period: seconds between two looks of the strategy at idle blocks.
        max_idletime: seconds after which idle blocks are given back.
        monitoring: a MonitoringHub, or None.
        usage_tracking: 0 (nothing) to 3; True counts as 1. Nothing is sent except to an endpoint that you name.
        project_name: a name that usage tracking may tell.
        initialize_logging: True for a `parsl.log` in the run folder, False for none, or a log configuration.
        memoizer: what remembers results, such as a BasicMemoizer; instead of `app_cache` and `checkpoint_*`.
        max_outstanding: most tasks that may be open (submitted and not ended) at once: a call of an app waits for room
            then, so that a script that generates calls without end needs no more memory than this many take. Calls
            made by tasks themselves, as in join apps, never wait. None sets no limit.
        progress: show a live bar for each app while the kernel is loaded, on a terminal or in a notebook; nothing is
            shown elsewhere. Needs rich: `pip install 'parsl[progress]'`.
        system_retries: how often a task may be lost with what ran it (its worker, node or block died, or fell silent)
            and is run again without that being counted by `retries` or told to `retry_handler`; the next loss fails
            it. A task under which a third worker dies fails as `PoisonTask`, however high the number. With 0, a loss is
            a failure like any other.

    Raises:
        TypeError: naming the parameter, when an argument is of a wrong type.
        ConfigurationError: when a value is out of its range, or values contradict each other.
    """

    @check_types
    def __init__(
        self,
        executors: Iterable[ParslExecutor] | None = None,
        app_cache: bool = True,
        checkpoint_files: Sequence[str] | None = None,
        checkpoint_mode: Literal["task_exit", "periodic", "dfk_exit", "manual"] | None = None,
        checkpoint_period: str | None = None,
        dependency_resolver: DependencyResolver | None = None,
        exit_mode: Literal["cleanup", "skip", "wait"] = "cleanup",
        garbage_collect: bool = True,
        internal_tasks_max_threads: int = 10,
        retries: int = 0,
        retry_handler: Callable[[Exception, TaskRecord], float] | None = None,
        run_dir: str = "runinfo",
        std_autopath: Callable[..., Any] | None = None,
        strategy: Literal["none", "simple", "htex_auto_scale"] | None = "simple",
        strategy_period: float | int = 5,
        max_idletime: float = 120.0,
        monitoring: MonitoringHub | None = None,
        usage_tracking: int = DISABLED,
        project_name: str | None = None,
        initialize_logging: bool | LogConfig = True,
        memoizer: Memoizer | None = None,
        *,
        max_outstanding: int | None = None,
        progress: bool = False,
        system_retries: int = 3,
    ) -> None:
        self._executors = [ThreadPoolExecutor()] if executors is None else list(executors)
        self._check_executors()
        self.app_cache = app_cache
        self.checkpoint_files = checkpoint_files
        self.checkpoint_mode = checkpoint_mode
        self.checkpoint_period = checkpoint_period
        self.memoizer = memoizer
        self.dependency_resolver = dependency_resolver
        self.exit_mode = exit_mode
        self.garbage_collect = garbage_collect
        self.internal_tasks_max_threads = internal_tasks_max_threads
        self.retries = retries
        self.retry_handler = retry_handler
        self.run_dir = run_dir
        self.std_autopath = std_autopath
        self.strategy = strategy
        self.strategy_period = strategy_period
        self.max_idletime = max_idletime
        self.monitoring = monitoring
        self.validate_usage_tracking(usage_tracking)
        self.usage_tracking = usage_tracking
        self.project_name = project_name
        self.initialize_logging = initialize_logging
        self.max_outstanding = max_outstanding
        self.progress = progress
        self.system_retries = system_retries
        self._check_values()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Config:
        """Make a configuration from a TOML or JSON file.

        Its settings are the parameters of this class. A table with a `class` is an object, made with the rest of the
        table: the class is named as in `parsl.plugins.resolve`. A table `{object = "package.module.name"}` stands for
        what can be imported by that name, such as a function.

        Args:
            path: a file whose name ends in `.toml` or `.json`. Trust it as you would a script: it names code that runs.

        Raises:
            ConfigurationError: naming the file and the place in it, when it cannot be used.
            OptionalModuleMissing: a TOML file is to be read by Python 3.10, which needs `tomli` for it.
        """
        from parsl.config_files import arguments_from

        arguments = arguments_from(path)
        try:
            return cls(**arguments)
        except (TypeError, ConfigurationError) as e:
            msg = f"the configuration {os.fspath(path)}: {e}"
            raise ConfigurationError(msg) from e

    @property
    def executors(self) -> Sequence[ParslExecutor]:
        """What runs tasks."""
        return self._executors

    def made_memoizer(self) -> Memoizer:
        """Return what remembers results: the memoizer given, or one made of `app_cache` and `checkpoint_*`."""
        if self.memoizer is not None:
            return self.memoizer
        return BasicMemoizer(
            checkpoint_files=self.checkpoint_files or (),
            checkpoint_period=self.checkpoint_period,
            checkpoint_mode=self.checkpoint_mode,
            memoize=self.app_cache,
        )

    def _check_executors(self) -> None:
        # A generator is not looked into where types are checked.
        for executor in self._executors:
            if not isinstance(executor, ParslExecutor):
                got = f"{type(executor).__name__}: {executor!r:.80}"
                msg = f"Config: parameter 'executors' takes ParslExecutor objects, but got {got}"
                raise TypeError(msg)
        labels = [e.label for e in self._executors]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if not labels:
            msg = "Config: parameter 'executors' is empty: at least one executor is needed to run tasks"
            raise ConfigurationError(msg)
        if twice:
            named = ", ".join(map(repr, twice))
            msg = f"Config: parameter 'executors' has several executors of the label(s) {named}: labels must differ"
            raise ConfigurationError(msg)

    def _check_values(self) -> None:
        for name, least in {
            **({} if self.max_outstanding is None else {"max_outstanding": 1}),
            "internal_tasks_max_threads": 1,
            "retries": 0,
            "system_retries": 0,
            "strategy_period": 0,
            "max_idletime": 0,
        }.items():
            if not getattr(self, name) >= least:  # so that nan is refused as well
                msg = f"Config: parameter {name!r} must be at least {least}, but got {getattr(self, name)!r}"
                raise ConfigurationError(msg)
        if self.memoizer is not None and (self.checkpoint_files or self.checkpoint_mode or self.checkpoint_period):
            msg = "Config: 'memoizer' and 'checkpoint_*' exclude each other: give checkpoint settings to the memoizer"
            raise ConfigurationError(msg)
        if self.checkpoint_period is not None:
            if self.checkpoint_mode != "periodic":
                mode = self.checkpoint_mode
                msg = f"Config: 'checkpoint_period' needs checkpoint_mode='periodic', but that is {mode!r}"
                raise ConfigurationError(msg)
            period_in_seconds(self.checkpoint_period)

    def validate_usage_tracking(self, level: int) -> None:
        """Raise ConfigurationError unless `level` is a usage tracking level (0 to 3, or a truth value)."""
        validate_level(level)

    def get_usage_information(self) -> dict[str, object]:
        """Say what usage tracking may tell of this configuration."""
        return {"executors_len": len(self._executors), "dependency_resolver": self.dependency_resolver is not None}
