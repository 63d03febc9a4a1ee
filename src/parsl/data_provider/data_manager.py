"""`DataManager`: finds the staging provider of each file that goes to or comes from a task."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from parsl.app.futures import DataFuture
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.files import File
from parsl.data_provider.fsspec import FsspecInTaskStaging
from parsl.data_provider.ftp import FTPSeparateTaskStaging
from parsl.data_provider.http import HTTPSeparateTaskStaging
from parsl.data_provider.transfer import without_password
from parsl.data_provider.zip import ZipFileStaging

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from concurrent.futures import Future
    from typing import Protocol

    from parsl.data_provider.staging import Staging
    from parsl.dataflow.futures import AppFuture

    class StagingExecutor(Protocol):
        """What staging needs of an executor."""

        @property
        def storage_access(self) -> Sequence[Staging] | None:
            """The providers to ask, in order; None for `default_staging`."""

        @property
        def working_dir(self) -> str | None:
            """The folder for staged files; None for the one in which a task runs."""

    class StagingKernel(Protocol):
        """What staging needs of the dataflow kernel."""

        @property
        def executors(self) -> Mapping[str, Any]:
            """The executors by label, each a `StagingExecutor`."""

        def submit(
            self,
            func: Callable[..., Any],
            app_args: Sequence[Any],
            executors: str | Sequence[str] = "all",
            cache: bool = False,
            ignore_for_cache: Sequence[str] | None = None,
            app_kwargs: dict[str, Any] | None = None,
        ) -> AppFuture[Any]:
            """Make a task of a call."""


default_staging: list[Staging] = [
    NoOpFileStaging(),
    FTPSeparateTaskStaging(),
    HTTPSeparateTaskStaging(),
    ZipFileStaging(),
    FsspecInTaskStaging(),
]
"""The providers that are asked, in this order, for an executor whose `storage_access` is None."""


class DataManager:
    """Replaces the files among a task's arguments by what its staging providers make of them.

    Args:
        dfk: the dataflow kernel whose tasks these are. Providers use it, as `dm.dfk`, to submit transfers.
    """

    def __init__(self, dfk: StagingKernel) -> None:
        self.dfk = dfk
        self._places: dict[str, str] = {}
        # Who waits for a transfer keeps its future; nothing is kept of those that have ended.
        self._under_way: WeakValueDictionary[Hashable, AppFuture[Any]] = WeakValueDictionary()
        self._asking = threading.local()
        self._closing: list[Callable[[], None]] = []

    # -- what providers ask for ------------------------------------------------------------------------------------

    def run(
        self,
        func: Callable[..., Any],
        *args: Any,
        executor: str,
        after: Future[Any] | None = None,
        shared_as: Hashable = None,
    ) -> AppFuture[Any]:
        """Submit a task that makes a transfer.

        It is a task as any other: it is retried and monitored, and a failure names it. Files among its arguments are
        passed as they are.

        Args:
            func: what to call, where the executor's workers can import it.
            args: positional arguments.
            executor: the label of the executor that shall run it.
            after: a future to wait for; its result is one argument more.
            shared_as: what is transferred. As long as such a transfer is under way, its future is returned, and no
                second task submitted. None shares nothing.

        Returns:
            The future of the task.
        """
        open_one = None if shared_as is None else self._under_way.get(shared_as)
        if open_one is not None and not open_one.done():
            return open_one
        future = self.dfk.submit(
            func,
            args if after is None else (*args, after),
            executors=[executor],
            app_kwargs={"_parsl_staging_inhibit": True},
        )
        if shared_as is not None:
            self._under_way[shared_as] = future
        return future

    def place(self, file: File, executor: str) -> str:
        """Choose the path for a file where a task of an executor finds it.

        It is the file's name in the `working_dir` of the executor; without one, in the folder in which the task runs.
        Files of different URLs get different paths: the second of a name goes to a folder of its own.

        Args:
            file: the file.
            executor: the label of the executor.

        Raises:
            ValueError: for a URL that ends in no name of a file.
        """
        if file.filename in {"", ".", ".."}:
            msg = f"{without_password(file.url)} cannot be staged, as it ends in no name of a file"
            raise ValueError(msg)
        folder = self.dfk.executors[executor].working_dir or ""
        path = os.path.join(folder, file.filename)
        if self._places.setdefault(path, file.url) == file.url:
            return path
        import hashlib

        return os.path.join(folder, hashlib.sha256(file.url.encode()).hexdigest()[:16], file.filename)

    def asker(self) -> str:
        """Name the task whose files this thread is having staged, for messages."""
        task_id, name = getattr(self._asking, "task", (None, ""))
        return "a task" if task_id is None else f"task {task_id} ({name})"

    def asking(self, task_id: int, name: str) -> None:
        """Note which task's files this thread is having staged from now on."""
        self._asking.task = (task_id, name)

    def when_closed(self, function: Callable[[], None]) -> None:
        """Have a function called once when the kernel is cleaned up: it ends transfers that are no tasks."""
        self._closing.append(function)

    def close(self) -> None:
        """End the transfers that are no tasks. The kernel calls this in its cleanup."""
        while self._closing:
            self._closing.pop()()

    # -- what the kernel asks for ----------------------------------------------------------------------------------

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
            f"Executor {executor!r} has no staging provider for {without_password(file.url)} of scheme {file.scheme!r} "
            f"({question} was asked of: {asked}). Give the executor one that takes it with storage_access=[...]."
        )
        raise ValueError(msg)
