"""The database process: applies a run's journal to the database, batch by batch, as the database's one writer.

Its configuration comes on standard input, and after that a byte for each piece of the journal that was written. The end
of standard input is the end of the run, or of the kernel's process: what is there is applied, and the process ends. On
standard output it says that it is ready, and then a byte for each batch: `.` for one that is in the database, `!` for
one that could not be written now and is tried again.

By hand, `python -m parsl.monitoring.db_manager RUN_FOLDER [URL]` applies what a run has left behind.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import pickle
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from parsl.errors import OptionalModuleMissing
from parsl.log_utils import set_stream_logger
from parsl.loop import Loop, Timer
from parsl.monitoring.journal import LENGTH, JournalReader, segments
from parsl.monitoring.rows import Rows, Workers
from parsl.monitoring.store import Store
from parsl.monitoring.totals import Totals
from parsl.process_loggers import wrap_with_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsl.monitoring.records import Record
    from parsl.monitoring.telemetry.teller import Teller

logger = logging.getLogger(__name__)

# Records in one transaction: large enough that its cost is spread, small enough that readers see progress.
BATCH_RECORDS = 50_000

# From the first word of something new to the batch, so that batches are worth their cost; and the pause after a failed
# one, doubled each time up to the longest.
BATCH_SECONDS = 0.1
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0

# While the run goes on, this process takes such a share of one core at most, so that the tasks have the rest: the
# journal can wait. It rests for so long at most, and not at all when the journal has grown beyond so many bytes.
LARGEST_SHARE = 1 / 16
LONGEST_REST = 2.0
LARGEST_LAG = 256 * 2**20

# How long a process whose kernel is gone goes on trying to write what is left.
LAST_SECONDS = 600.0

# The workers' turn comes first where there are not enough cores for all.
NICENESS = 19

# What libraries leave behind in circles is collected once in so many batches.
_BATCHES_PER_COLLECTION = 200

# Names of files in the folder of a run's journal.
ABOUT = "about.json"


def journal_folder(run_dir: str) -> str:
    """Return the folder of a run's journal."""
    return os.path.join(run_dir, "monitoring")


class DatabaseManager:
    """A run's journal on its way into the database.

    Args:
        store: the database, prepared.
        run_id: the run.
        folder: where its journal is.
        loop: the loop to run on.
        told: where a byte is written for each batch; None for nowhere.
        teller: what is told the records that are in the database; None for nothing.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        folder: str,
        loop: Loop,
        told: BinaryIO | None,
        teller: Teller | None = None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._loop = loop
        self._told = told
        self._teller = teller
        self._batch: Sequence[Record] = ()
        self._run, segment, position, workers = store.open_run(run_id)
        self._workers = Workers(workers)
        self._totals = Totals()
        self._reader = JournalReader(folder, segment, position)
        self._rows: Rows | None = None
        self._timer: Timer | None = None
        self._pause = FIRST_PAUSE
        self._ending: float | None = None
        self._batches = 0
        self.complete = False

    def look(self) -> None:
        """Apply soon what is new."""
        if self._timer is None:
            self._timer = self._loop.call_later(BATCH_SECONDS, self._work)

    def end(self) -> None:
        """Apply what is there, and end the loop."""
        if self._ending is None:
            self._ending = time.monotonic()
            if self._timer is None:
                self._timer = self._loop.call_later(0, self._work)

    def _work(self) -> None:
        self._timer = None
        began = time.process_time()
        try:
            more = self._apply()
        except self._errors() as e:
            self._failed(e)
            return
        except Exception:
            # Not a matter of time: the kernel starts another process, and gives up after some.
            logger.exception("The journal cannot be applied")
            self._loop.stop()
            return
        self._pause = FIRST_PAUSE
        if more:
            rest = 0.0 if self._ending is not None else self._rest(time.process_time() - began)
            self._timer = self._loop.call_later(rest, self._work)
        elif self._ending is not None:
            self.complete = True
            self._reader.forget(self._reader.segment + 1)
            self._loop.stop()

    def _rest(self, busy: float) -> float:
        """Return how long to pause after a batch that took `busy` seconds of CPU."""
        return 0.0 if self._reader.rest > LARGEST_LAG else min(LONGEST_REST, busy * (1 / LARGEST_SHARE - 1))

    def _apply(self) -> bool:
        """Write one batch; return False when there was nothing to write."""
        if self._rows is None:
            batch = self._reader.read(BATCH_RECORDS)
            if not batch:
                return False
            self._rows = Rows(self._run, self._workers, self._totals)
            self._rows.add(batch)
            if self._teller is not None:
                self._batch = batch
        self._store.write(self._run_id, self._rows, self._reader.segment, self._reader.position)
        self._rows = None
        self._tell(b".")
        if self._teller is not None:
            self._teller.take(self._batch)
            self._batch = ()
        self._batches += 1
        if self._batches % _BATCHES_PER_COLLECTION == 0:
            gc.collect()
        self._reader.forget(self._reader.segment)
        return True

    @staticmethod
    def _errors() -> tuple[type[Exception], ...]:
        from sqlalchemy.exc import SQLAlchemyError

        return (SQLAlchemyError, OSError)

    def _failed(self, error: Exception) -> None:
        """Try the same batch again a little later; give up only when nobody waits for it any more."""
        logger.log(
            logging.WARNING if self._pause == FIRST_PAUSE else logging.DEBUG,
            "A batch cannot be written now and is tried again: %s",
            error,
        )
        self._tell(b"!")
        if self._ending is not None and time.monotonic() - self._ending > LAST_SECONDS:
            logger.error("Ending with %d bytes of the journal not applied: %s", self._reader.rest, error)
            self._loop.stop()
            return
        self._timer = self._loop.call_later(self._pause, self._work)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _tell(self, byte: bytes) -> None:
        if self._told is not None:
            try:
                self._told.write(byte)
                self._told.flush()
            except BlockingIOError:
                pass  # nobody reads just now, and there are enough bytes to be read
            except OSError:
                self._told = None  # nobody reads any more


def apply_journal(run_dir: str, url: str | None = None) -> bool:
    """Apply what a run has left in its journal.

    Args:
        run_dir: the run's folder.
        url: the database; None for the one that the run was to use.

    Returns:
        Whether all has been applied.

    Raises:
        FileNotFoundError: when the folder has no journal.
    """
    folder = journal_folder(run_dir)
    try:
        with open(os.path.join(folder, ABOUT), encoding="utf-8") as file:
            about = json.load(file)
    except FileNotFoundError as e:
        raise FileNotFoundError(f"{folder} holds no journal of a run") from e
    if not segments(folder):
        return True
    store = Store(url or about["url"])
    loop = Loop("database")
    with contextlib.closing(store):
        store.prepare()
        manager = DatabaseManager(store, about["run_id"], folder, loop, None)
        manager.end()
        loop.run()
    return manager.complete


def _read_config() -> dict[str, Any]:
    stdin = sys.stdin.buffer
    # From the process that started this one, through a pipe that nobody else holds.
    config: dict[str, Any] = pickle.loads(stdin.read(LENGTH.unpack(stdin.read(LENGTH.size))[0]))  # noqa: S301 - see above
    return config


@wrap_with_logs
def serve() -> None:
    """Serve the kernel that has started this process."""
    given = _read_config()
    from parsl.logconfigs.base import oneshot_initialize_logging

    oneshot_initialize_logging(given["log_config"], given["run_dir"], "database_manager")
    if given["debug"]:
        logging.getLogger("parsl").setLevel(logging.DEBUG)
    os.nice(NICENESS)
    # Batches are trees without circles, and looking through all of a large one again and again costs half the time.
    gc.disable()
    # A ctrl-C in the terminal goes to the whole group: the kernel decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop = Loop("database")
    try:
        store = Store(given["url"])
        _retried(store.prepare, given["patience"])
        told = open(os.dup(1), "wb", buffering=0)  # noqa: SIM115 - for as long as the process lives
        teller = None
        if given["telemetry"] is not None:
            from parsl.monitoring.telemetry.teller import Teller

            teller = Teller(given["telemetry"], given["run_id"])
            teller.go_on(store.workflow_name(given["run_id"]))
        manager = DatabaseManager(store, given["run_id"], journal_folder(given["run_dir"]), loop, told, teller)
    except Exception as e:
        logger.exception("The database cannot be used")
        os.write(1, f"ERROR {type(e).__name__}: {e}\n".encode())
        sys.exit(1)
    os.write(1, b"READY\n")
    os.set_blocking(told.fileno(), False)
    os.dup2(2, 1)
    loop.add_reader(0, lambda: _heard(manager, loop))
    manager.look()
    loop.run()
    store.close()
    if teller is not None:
        teller.close()
    told.close()
    sys.exit(0 if manager.complete else 1)


def _retried(function: Any, patience: float) -> None:
    """Call a function until nobody's lock is in its way, for `patience` seconds at most."""
    from sqlalchemy.exc import OperationalError

    began = time.monotonic()
    while True:
        try:
            function()
        except OperationalError as e:
            # The driver has waited for the lock by itself. Both kinds of database name it in their words only.
            if "lock" not in str(e) or time.monotonic() - began > patience:
                raise
        else:
            return


def _heard(manager: DatabaseManager, loop: Loop) -> None:
    if os.read(0, 65536):
        manager.look()
    else:
        loop.remove_reader(0)
        manager.end()


def main() -> None:
    """Serve a kernel, or apply the journal of the run whose folder the command line names."""
    if len(sys.argv) == 1:
        serve()
        return
    set_stream_logger(level=logging.INFO)
    try:
        complete = apply_journal(*sys.argv[1:3])
    except (OSError, ValueError, OptionalModuleMissing) as e:
        sys.exit(f"python -m parsl.monitoring.db_manager: {e}")
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    from parsl.monitoring.db_manager import main as _main

    _main()
