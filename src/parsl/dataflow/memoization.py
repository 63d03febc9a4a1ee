"""Results that are not computed twice: what is asked for one, and what is told of one."""

from __future__ import annotations

import logging
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal

from parsl.dataflow.checkpoint_saver import Saver
from parsl.dataflow.checkpoints import RECORDS, Checkpoints, open_checkpoints
from parsl.dataflow.futures import LazyFuture
from parsl.dataflow.memo_ids import (
    id_for_memo,
    id_for_memo_dict,
    id_for_memo_list,
    id_for_memo_pickle,
    id_for_memo_tuple,
)
from parsl.dataflow.memo_keys import Keys, memo_version
from parsl.dataflow.taskrecord import Error, Outcome, TaskRecord, Value
from parsl.errors import ConfigurationError
from parsl.representation import RepresentationMixin
from parsl.utils import get_all_checkpoints
from parsl.validation import check_types

__all__ = [
    "BasicMemoizer",
    "CheckpointCommand",
    "Memoizer",
    "id_for_memo",
    "id_for_memo_dict",
    "id_for_memo_list",
    "id_for_memo_pickle",
    "id_for_memo_tuple",
    "make_hash",
    "memo_version",
]

logger = logging.getLogger(__name__)

_USUAL_PERIOD = "00:30:00"
_PARTS_OF_A_TIME = 3

_by_name = Keys()


def make_hash(task: TaskRecord) -> str:
    """Return the key of a task: equal for calls of the same app, by name, with the same arguments.

    Raises:
        ValueError: when an argument is of a type that `id_for_memo` does not know.
    """
    return _by_name.key(task)


class CheckpointCommand:
    """What is to be saved of a task.

    Args:
        task_record: the task, with its `hashsum`.
        result: what it returned.
        exception: what it raised; None when it returned.
    """

    __slots__ = ("exception", "result", "task_record")

    def __init__(self, task_record: TaskRecord, result: Any = None, exception: BaseException | None = None) -> None:
        self.task_record = task_record
        self.result = result
        self.exception = exception


class Memoizer(metaclass=ABCMeta):
    """What remembers outcomes of tasks: asked before a task with `cache=True` is launched, and told when it ends.

    All but `start` and `close` is called on the kernel's loop: one call at a time, and none may block for long.

    Args:
        dfk, memoize, checkpoint: accepted, as in earlier releases, and without effect.
    """

    def __init__(self, dfk: Any = None, memoize: bool = True, checkpoint: Any = {}) -> None:  # noqa: B006 - the contract
        del dfk, memoize, checkpoint

    @abstractmethod
    def start(self, run_dir: str, config_run_dir: str) -> None:
        """Begin a run, before any task.

        Args:
            run_dir: the run's own folder.
            config_run_dir: the folder of all runs, `Config.run_dir`.
        """

    @abstractmethod
    def check_memo(self, task: TaskRecord) -> Future[Any] | None:
        """Return a future with the remembered outcome of a task, or None when it has to run.

        `task.hashsum` may be set to what will tell equal calls apart. Of several calls with equal hashes at the same
        time one runs, and the others are looked up again when it has ended.

        Raises:
            Exception: anything; it makes the task fail.
        """

    @abstractmethod
    def update_memo_result(self, task: TaskRecord, r: Any) -> None:
        """Take note of what a task returned, before its future is told."""

    @abstractmethod
    def update_memo_exception(self, task: TaskRecord, e: BaseException) -> None:
        """Take note of how a task failed for good, before its future is told."""

    @abstractmethod
    def close(self) -> None:
        """End the run; all tasks have ended."""

    def save_result(self, task: TaskRecord, result: Any, saved: Callable[[], object]) -> bool:
        """Take note of a result; for memoizers that write it somewhere without holding up the loop.

        Args:
            task: the task that ended.
            result: what it returned.
            saved: to be called, from any thread, once the result is safe: the task's future is told then.

        Returns:
            False when `saved` will not be called, since there is nothing to wait for.
        """
        del saved
        self.update_memo_result(task, result)
        return False

    def recall_early(self, task: TaskRecord) -> Outcome | None:
        """Return the remembered outcome of a task that waits for nothing; on the thread of the caller."""
        del task
        return None

    def flush(self) -> None:  # noqa: B027 - most memoizers promise nothing, and have nothing to wait for
        """Wait until each `saved` that `save_result` has promised to call was called; not on the loop."""

    # -- earlier names -----------------------------------------------------------------------------------------------

    def make_hash(self, task: TaskRecord) -> str:
        """Return the key of a task."""
        return make_hash(task)

    def hash_lookup(self, hashsum: str) -> Future[Any]:
        """Return a future with what is remembered under a key.

        Raises:
            KeyError: when nothing is.
        """
        raise KeyError(hashsum)

    def update_memo(self, task: TaskRecord, r: Future[Any]) -> None:
        """Take note of the future of a task that has ended."""
        exception = r.exception()
        if exception is None:
            self.update_memo_result(task, r.result())
        else:
            self.update_memo_exception(task, exception)


class BasicMemoizer(Memoizer, RepresentationMixin):
    """Remembers outcomes by a hash of app and arguments: in memory for this run, and on disk for later ones.

    Failures are remembered within the run only.

    Args:
        checkpoint_files: checkpoint folders of earlier runs to take results from. None takes, when `checkpoint_mode` is
            given, those of all runs in the run directory; an empty list takes none.
        checkpoint_period: time between saves of mode 'periodic', as 'HH:MM:SS'; half an hour by default.
        checkpoint_mode: when results are saved. 'task_exit': each before its future is told; 'periodic': now and then,
            and at the end; 'dfk_exit': at the end; 'manual': when `checkpoint()` is called; None: never.
        memoize: False switches memoization off, whatever `cache` says.
        key: 'name' has an app run again for other arguments only. 'code' has it run again as well when its code, or
            that of a function of yours which it calls, was changed.
        version: a text that makes results of other versions not count; see `memo_version` for that of one app.

    Raises:
        TypeError: naming the parameter, when an argument is of a wrong type.
        ConfigurationError: when `checkpoint_period` is no time, or comes with another mode than 'periodic'.
    """

    @check_types
    def __init__(
        self,
        checkpoint_files: Sequence[str | os.PathLike[str]] | None = None,
        checkpoint_period: str | None = None,
        checkpoint_mode: Literal["task_exit", "periodic", "dfk_exit", "manual"] | None = None,
        memoize: bool = True,
        *,
        key: Literal["name", "code"] = "name",
        version: str = "",
    ) -> None:
        super().__init__()
        self.checkpoint_files = checkpoint_files
        self.checkpoint_period = checkpoint_period
        self.checkpoint_mode = checkpoint_mode
        self.memoize = memoize
        self.key = key
        self.version = version
        if checkpoint_mode == "periodic" and checkpoint_period is None:
            self.checkpoint_period = _USUAL_PERIOD
        self._seconds: float | None = None
        self._check_period()
        self._keys = Keys(code=key == "code", version=version)
        # A class that asks, refuses or hashes in its own way is asked on the loop.
        cls = type(self)
        self._early = cls.check_memo is BasicMemoizer.check_memo and cls.make_hash is BasicMemoizer.make_hash
        self._outcomes: dict[str, Outcome] = {}
        self._known = Checkpoints()
        self._saver: Saver | None = None
        self._saved_again: set[str] = set()
        self._run_dir: str | None = None

    def _check_period(self) -> None:
        if self.checkpoint_period is None:
            return
        if self.checkpoint_mode != "periodic":
            msg = f"'checkpoint_period' needs checkpoint_mode='periodic', but that is {self.checkpoint_mode!r}"
            raise ConfigurationError(msg)
        self._seconds = period_in_seconds(self.checkpoint_period)

    def start(self, run_dir: str, config_run_dir: str) -> None:
        """Open the checkpoints of earlier runs.

        Raises:
            BadCheckpoint: when one that `checkpoint_files` names cannot be opened.
        """
        self._outcomes, self._saved_again, self._run_dir = {}, set(), run_dir
        if self.checkpoint_files is not None:
            self._known = open_checkpoints(self.checkpoint_files)
        elif self.checkpoint_mode is not None:
            self._known = open_checkpoints(_with_records(get_all_checkpoints(config_run_dir)))
        if len(self._known):
            logger.info("%d results of earlier runs can be used again", len(self._known))
        if self.checkpoint_mode is not None:
            seconds = self._seconds if self.checkpoint_mode == "periodic" else None
            self._saver = Saver(run_dir, at_once=self.checkpoint_mode == "task_exit", period=seconds)

    def load_checkpoints(self, checkpointDirs: Sequence[str] | None) -> Checkpoints:  # noqa: N803 - the contract
        """Use the results of other checkpoints instead of those that are open.

        Args:
            checkpointDirs: the folders, oldest first; None for none.

        Returns:
            The results, by hash; each is read when it is asked for.

        Raises:
            BadCheckpoint: when one cannot be opened; then nothing has changed.
        """
        if isinstance(checkpointDirs, str):
            msg = f"checkpointDirs must be a list of folders, but got {checkpointDirs!r}"
            raise TypeError(msg)
        known = open_checkpoints(checkpointDirs or ())
        self._known, before = known, self._known
        before.close()
        return known

    # -- asking ----------------------------------------------------------------------------------------------------

    def check_memo(self, task: TaskRecord) -> Future[Any] | None:
        """Return a future with the outcome of an earlier equal call, or None.

        Raises:
            ValueError: when an argument is of a type that `id_for_memo` does not know.
            Exception: whatever a registered function raises.
        """
        outcome = self._recall(task)
        if outcome is None:
            return None
        future: LazyFuture[Any] = LazyFuture()
        future.settle(outcome)
        return future

    def recall_early(self, task: TaskRecord) -> Outcome | None:
        """Return the outcome of an earlier equal call, or None; on the thread of the caller."""
        if not self._early:
            return None
        try:
            return self._recall(task)
        except Exception:  # noqa: BLE001 - it comes again on the loop, and there becomes the task's own
            return None

    def hash_lookup(self, hashsum: str) -> Future[Any]:
        """Return a future with what is remembered under a key.

        Raises:
            KeyError: when nothing is.
        """
        outcome = self._outcomes.get(hashsum) or self._from_disk(hashsum)
        if outcome is None:
            raise KeyError(hashsum)
        future: LazyFuture[Any] = LazyFuture()
        future.settle(outcome)
        return future

    def make_hash(self, task: TaskRecord) -> str:
        """Return the key of a task, by `key` and `version`."""
        return self._keys.key(task)

    def _recall(self, task: TaskRecord) -> Outcome | None:
        if not self.memoize or not task.memoize:
            return None
        hashsum = task.hashsum
        if hashsum is None:
            hashsum = task.hashsum = self.make_hash(task)
        return self._outcomes.get(hashsum) or self._from_disk(hashsum)

    def _from_disk(self, hashsum: str) -> Outcome | None:
        if not self._known:
            return None
        record = self._known.record(hashsum)
        if record is None or record.get("exception") is not None:
            return None  # failures are tried again in another run
        if self._saver is not None and hashsum not in self._saved_again:
            # So that this run's checkpoint is complete by itself.
            self._saved_again.add(hashsum)
            self._saver.put_again(hashsum, record["result"])
        return Value(record["result"])

    # -- being told ------------------------------------------------------------------------------------------------

    def update_memo_result(self, task: TaskRecord, r: Any) -> None:
        """Remember what a task returned, and have it saved as the mode says."""
        if not self.memoize or not task.memoize or task.hashsum is None:
            return
        self._outcomes[task.hashsum] = Value(r)
        if self._saver is not None:
            self._saver.put_result(task.hashsum, r)

    def update_memo_exception(self, task: TaskRecord, e: BaseException) -> None:
        """Remember how a task failed, for this run."""
        if self.memoize and task.memoize and task.hashsum is not None:
            self._outcomes[task.hashsum] = Error(e)

    def save_result(self, task: TaskRecord, result: Any, saved: Callable[[], object]) -> bool:
        """Remember what a task returned; in mode 'task_exit', `saved` is called once it is on disk."""
        self.update_memo_result(task, result)
        return self._saver is not None and self._saver.when_written(saved)

    # -- saving ----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write all results that have not been written yet, and wait until the disk has them.

        Without a `checkpoint_mode`, all results so far are written, and from then on the mode is 'manual'.

        Raises:
            OSError: when they cannot be written; they are kept for the next time.
        """
        self.checkpoint_queue()

    def checkpoint_queue(self) -> None:
        """Do what `checkpoint` does."""
        self._made_saver().write()

    def checkpoint_one(self, cc: CheckpointCommand) -> None:
        """Write the outcome of one task now."""
        if cc.task_record.hashsum is not None:
            self._made_saver().write_one(cc.task_record.hashsum, cc.result, cc.exception)

    def _made_saver(self) -> Saver:
        if self._saver is None:
            if self._run_dir is None:
                msg = "There is no run to save results of: the memoizer has not been started by a kernel"
                raise ConfigurationError(msg)
            self._saver = Saver(self._run_dir, at_once=False)
            for hashsum, outcome in list(self._outcomes.items()):
                if isinstance(outcome, Value):
                    self._saver.put_result(hashsum, outcome.result)
        return self._saver

    def flush(self) -> None:
        """Wait until the results that are being written are on disk."""
        if self._saver is not None:
            self._saver.flush()

    def close(self) -> None:
        """Write what is still to be written, except in mode 'manual', and close the files."""
        if self._saver is not None:
            self._saver.close(write=self.checkpoint_mode in {"periodic", "dfk_exit"})
        self._known.close()


def period_in_seconds(period: str) -> float:
    """Read a time between two saves, given as 'HH:MM:SS'.

    Raises:
        ConfigurationError: when it is of another form, or no time at all.
    """
    parts = period.split(":")
    if len(parts) == _PARTS_OF_A_TIME and all(part.isascii() and part.isdigit() for part in parts):
        hours, minutes, seconds = map(int, parts)
        total = hours * 3600 + minutes * 60 + seconds
        if total:
            return total
    msg = f"parameter 'checkpoint_period' is not a time of the form 'HH:MM:SS': {period!r}"
    raise ConfigurationError(msg)


def _with_records(folders: Sequence[str]) -> list[str]:
    """Leave out runs that have not saved anything."""
    return [folder for folder in folders if os.path.isfile(os.path.join(folder, RECORDS))]
