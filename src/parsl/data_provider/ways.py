"""The two ways of staging: in a task of its own, or inside the task that uses the file.

A provider of a protocol takes one of these as its base and names its schemes and the function that carries a
transfer out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from parsl.app.futures import DataFuture
from parsl.data_provider.staging import Staging
from parsl.data_provider.transfer import Transfer, WithFolder, WithTransfer
from parsl.representation import RepresentationMixin

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl.data_provider.data_manager import DataManager
    from parsl.data_provider.files import File


class SchemeStaging(Staging, RepresentationMixin):
    """Takes the files of some schemes, in and out."""

    schemes: ClassVar[frozenset[str]]

    def can_stage_in(self, file: File) -> bool:
        """Tell whether the file is of a scheme of this provider."""
        return file.scheme in self.schemes

    def can_stage_out(self, file: File) -> bool:
        """Tell whether the file is of a scheme of this provider."""
        return file.scheme in self.schemes


class SeparateTaskStaging(SchemeStaging):
    """Makes each transfer in a task of its own, on the executor of the task that uses the file.

    It needs a folder that all workers of the executor share: its `working_dir`, or else the folder they run in.
    """

    @staticmethod
    def fetch(transfer: Transfer, after: object = None) -> None:
        """Fetch a file: the function of a task, which gets what it waits for as `after`."""
        raise NotImplementedError

    @staticmethod
    def send(transfer: Transfer, after: object = None) -> None:
        """Send a file: the function of a task, which gets what it waits for as `after`."""
        raise NotImplementedError

    def stage_in(self, dm: DataManager, executor: str, file: File, parent_fut: Future[Any] | None) -> DataFuture | None:
        """Submit a task that fetches the file, once its producer has ended.

        Tasks that ask for a file while it is being fetched wait for that one transfer.
        """
        transfer = transfer_of(self, dm, executor, file, inbound=True)
        key = (executor, file.url) if parent_fut is None else None
        future = dm.run(type(self).fetch, transfer, executor=executor, after=parent_fut, shared_as=key)
        return DataFuture(future, file, tid=future.tid)

    def stage_out(self, dm: DataManager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """Submit a task that sends the file, once the app has ended."""
        transfer = transfer_of(self, dm, executor, file, inbound=False)
        return dm.run(type(self).send, transfer, executor=executor, after=ended(app_fu, file))

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See to it that there is the folder into which the function writes."""
        return WithFolder(func, place(dm, executor, file))


class InTaskStaging(SchemeStaging):
    """Makes each transfer inside the task that uses the file, on the very worker, before or after the app's function.

    Workers need not share a folder.
    """

    @staticmethod
    def carry(transfer: Transfer) -> None:
        """Make a transfer; on the worker."""
        raise NotImplementedError

    def replace_task(
        self, dm: DataManager, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put the fetching of the file before the function."""
        return WithTransfer(f, transfer_of(self, dm, executor, file, inbound=True), type(self).carry)

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put the sending of the file after the function."""
        return WithTransfer(func, transfer_of(self, dm, executor, file, inbound=False), type(self).carry)


def transfer_of(provider: Staging, dm: DataManager, executor: str, file: File, *, inbound: bool) -> Transfer:
    """Choose the path of a file for a task and return the transfer between its URL and there."""
    return Transfer(type(provider).__name__, file.url, place(dm, executor, file), inbound, dm.asker())


def place(dm: DataManager, executor: str, file: File) -> str:
    """Choose the path of a file for a task, and tell the task."""
    file.local_path = dm.place(file, executor)
    return file.local_path


def ended(app_fu: Future[Any], file: File) -> DataFuture:
    """Return a future of the end of an app, without its result: that may be large, and a transfer has no use for it."""
    return DataFuture(app_fu, file, tid=getattr(app_fu, "tid", None))


def fetching_first(
    provider: type[InTaskStaging], func: Callable[..., Any], file: File, working_dir: str | None
) -> WithTransfer:
    """Put the fetching of a file before a function, for callers that have no data manager.

    Args:
        provider: how it is fetched.
        func: the function.
        file: the file; it goes to its `local_path`, or if it has none, to its name in `working_dir`.
        working_dir: the folder; None is the one in which the function runs.
    """
    path = file.local_path or os.path.join(working_dir or "", file.filename)
    transfer = Transfer(provider.__name__, file.url, path, True, getattr(func, "__name__", "a task"))
    return WithTransfer(func, transfer, provider.carry)
