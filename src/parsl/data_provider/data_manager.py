"""`DataManager`: finds the staging provider of each file that goes to or comes from a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parsl.app.futures import DataFuture
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.files import File

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from typing import Protocol

    from parsl.data_provider.staging import Staging

    class StagingExecutor(Protocol):
        """What staging needs of an executor."""

        @property
        def storage_access(self) -> Sequence[Staging] | None:
            """The providers to ask, in order; None for `default_staging`."""

    class StagingKernel(Protocol):
        """What staging needs of the dataflow kernel."""

        @property
        def executors(self) -> Mapping[str, Any]:
            """The executors by label, each a `StagingExecutor`."""


default_staging: list[Staging] = [NoOpFileStaging()]
"""The providers that are asked, in this order, for an executor whose `storage_access` is None."""


class DataManager:
    """Replaces the files among a task's arguments by what its staging providers make of them.

    Args:
        dfk: the dataflow kernel whose tasks these are. Providers use it, as `dm.dfk`, to submit transfers.
    """

    def __init__(self, dfk: StagingKernel) -> None:
        self.dfk = dfk

    def optionally_stage_in(
        self,
        input: Any,  # noqa: A002 - the interface's own name
        func: Callable[..., Any],
        executor: str,
    ) -> tuple[Any, Callable[..., Any]]:
        """Stage one argument of a task in, if it is a file or the future of one.

        The task gets a copy of the file, so what staging notes in it is seen by that task only.

        Args:
            input: the argument.
            func: the function of the task.
            executor: the label of the executor that will run the task.

        Returns:
            What to use in place of `input` and of `func`: the very objects if there is nothing to stage.

        Raises:
            ValueError: when no provider of the executor takes the file.
        """
        if isinstance(input, DataFuture):
            file = input.file_obj.cleancopy()
        elif isinstance(input, File):
            file = input.cleancopy()
        else:
            return input, func
        provider = self._stager_in(file, executor)
        staged = self._stage_in(provider, file, input, executor)
        return staged, provider.replace_task(self, executor, file, func) or func

    def stage_in(self, file: File, input: Any, executor: str) -> Any:  # noqa: A002 - the interface's own name
        """Begin to bring a file to a task.

        Args:
            file: the task's own copy of the file.
            input: the argument of the task: the caller's File or DataFuture.
            executor: the label of the executor that will run the task.

        Returns:
            What to use in place of `input`: a DataFuture to wait for, whose result is `file`; or `file` itself if it is
            there already.

        Raises:
            ValueError: when no provider of the executor takes the file.
        """
        return self._stage_in(self._stager_in(file, executor), file, input, executor)

    def replace_task(self, file: File, func: Callable[..., Any], executor: str) -> Callable[..., Any]:
        """Wrap the function of a task that reads a file, if its provider works that way.

        Args:
            file: the task's own copy of the file.
            func: the function.
            executor: the label of the executor that will run the task.

        Returns:
            The function to run: `func` or one round it.

        Raises:
            ValueError: when no provider of the executor takes the file.
        """
        return self._stager_in(file, executor).replace_task(self, executor, file, func) or func

    def replace_task_stage_out(self, file: File, func: Callable[..., Any], executor: str) -> Callable[..., Any]:
        """Wrap the function of a task that writes a file, if its provider works that way.

        Args:
            file: the task's own copy of the file.
            func: the function.
            executor: the label of the executor that will run the task.

        Returns:
            The function to run: `func` or one round it.

        Raises:
            ValueError: when no provider of the executor takes the file.
        """
        return self._stager_out(file, executor).replace_task_stage_out(self, executor, file, func) or func

    def stage_out(self, file: File, executor: str, app_fu: Future[Any]) -> Future[Any] | None:
        """Arrange for a file that a task writes to be brought away when the task has ended.

        Args:
            file: the task's own copy of the file.
            executor: the label of the executor that will run the task.
            app_fu: the future of the task.

        Returns:
            The future of the transfer; None if there is none to wait for.

        Raises:
            ValueError: when no provider of the executor takes the file.
        """
        return self._stager_out(file, executor).stage_out(self, executor, file, app_fu)

    def _stage_in(self, provider: Staging, file: File, argument: Any, executor: str) -> Any:
        parent = argument if isinstance(argument, DataFuture) else None
        staged = provider.stage_in(self, executor, file, parent)
        if staged is not None:
            return staged
        # Nothing to transfer, but the file's producer has to end first; and the result has to be the copy, as
        # that is the object which a wrapped function (`replace_task`) knows.
        return file if parent is None else DataFuture(parent, file, parent.tid)

    def _stager_in(self, file: File, executor: str) -> Staging:
        return self._first(file, executor, "can_stage_in")

    def _stager_out(self, file: File, executor: str) -> Staging:
        return self._first(file, executor, "can_stage_out")

    def _first(self, file: File, executor: str, question: str) -> Staging:
        """Find the first provider of an executor that says yes to a file."""
        own: Sequence[Staging] | None = self.dfk.executors[executor].storage_access
        providers = default_staging if own is None else own
        for provider in providers:
            if getattr(provider, question)(file):
                return provider
        asked = ", ".join(type(provider).__name__ for provider in providers) or "it has none"
        msg = (
            f"Executor {executor!r} has no staging provider for {file.url} of scheme {file.scheme!r} "
            f"({question} was asked of: {asked}). Give the executor one that takes it with storage_access=[...]."
        )
        raise ValueError(msg)
