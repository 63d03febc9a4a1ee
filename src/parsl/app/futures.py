"""The future of a file that an app produces."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parsl.data_provider.files import File
from parsl.dataflow.futures import LazyFuture
from parsl.dataflow.taskrecord import Error, Value

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from parsl.dataflow.taskrecord import Outcome


class DataFuture(LazyFuture[File]):
    """The promise of a file: it is done when whatever produces the file has ended.

    Its result is the very File object that it was made with. If the producer failed, it raises the producer's
    exception; if that was cancelled, so is this. Given to an app as an argument, it makes that app wait for the file,
    and the app gets the File.

    Args:
        fut: the future of what produces the file: the app's, or that of a transfer.
        file_obj: the file.
        tid: the number of the task that produces it, if it is one.
    """

    def __init__(self, fut: Future[Any], file_obj: File, tid: int | None = None) -> None:
        super().__init__()
        if not isinstance(fut, Future):
            msg = f"DataFuture(fut=...) takes a Future, not a {type(fut).__name__}"
            raise TypeError(msg)
        if not isinstance(file_obj, File):
            msg = f"DataFuture(file_obj=...) takes a File, not a {type(file_obj).__name__}"
            raise TypeError(msg)
        self.parent = fut
        self.file_obj = file_obj
        self._tid = tid
        if isinstance(fut, LazyFuture):
            fut.follow(self._follow_parent)
        else:
            fut.add_done_callback(self.parent_callback)

    def _follow_parent(self) -> Sequence[DataFuture]:
        return (self,) if self.settle(self._outcome_from(self.parent)) else ()

    def parent_callback(self, parent_fu: Future[Any]) -> None:
        """End as the producer has ended. The producer's future calls this, once.

        Args:
            parent_fu: the future of the producer, which is done.
        """
        if self.settle(self._outcome_from(parent_fu)):
            self.run_callbacks()

    def _outcome_from(self, parent: Future[Any]) -> Outcome:
        exception = CancelledError() if parent.cancelled() else parent.exception()
        return Value(self.file_obj) if exception is None else Error(exception)

    @property
    def tid(self) -> int | None:
        """The number of the task that produces the file; None if it isn't a task."""
        return self._tid

    @property
    def filepath(self) -> str:
        """The path of the file, which may not be there yet.

        Raises:
            ValueError: for a remote file.
        """
        return self.file_obj.filepath

    @property
    def filename(self) -> str:
        """The last component of the file's path."""
        return self.file_obj.filename

    def cancel(self) -> bool:
        """Cancel what produces the file.

        Returns:
            What the producer's own `cancel` returns: whether it is cancelled.
        """
        return self.parent.cancel()

    def cancelled(self) -> bool:
        """Tell whether what produces the file was cancelled."""
        return self.parent.cancelled()

    def running(self) -> bool:
        """Tell whether what produces the file is running."""
        return self.parent.running()

    def __await__(self) -> Generator[Any, None, File]:
        """Wait for the file inside asyncio, without blocking its loop."""
        import asyncio

        return asyncio.wrap_future(self).__await__()

    def __repr__(self) -> str:
        if not self.done():
            state = "pending"
        elif self.cancelled():
            state = "cancelled"
        else:
            state = "finished" if self.exception() is None else "failed"
        producer = "" if self._tid is None else f" from task {self._tid}"
        return f"<DataFuture at {id(self):#x} of {self.file_obj!r}{producer}, {state}>"
