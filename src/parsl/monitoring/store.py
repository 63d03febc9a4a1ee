"""The monitoring database as its one writer sees it: made, brought up to date, and written batch by batch."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from parsl.monitoring import migrations, schema, totals_tables
from parsl.monitoring.rows import Rows
from parsl.monitoring.upserts import Upserts

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

logger = logging.getLogger(__name__)

# How long a statement waits for another's lock before it fails, and the batch is tried again.
LOCK_SECONDS = 1.0


class Store:
    """The database.

    Args:
        url: SQLAlchemy's URL of it: `sqlite:///path`, `postgresql://user:password@host/name`.

    Raises:
        OptionalModuleMissing: when SQLAlchemy or the database's driver is not installed.
        ValueError: when the URL cannot be read, or names a kind of database other than these two.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.dialect = self.engine.dialect.name
        self._metadata = schema.metadata()
        self._upsert = Upserts(self._metadata)

    def prepare(self) -> None:
        """Make the tables and views, or bring those of an earlier version up to date."""
        with self.engine.begin() as connection:
            if self.dialect == "postgresql":
                # Of several that start at once one does it. The number only has to be the same for all.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727374)")
            migrations.migrate(connection, self._metadata, self._upsert)

    def open_run(self, run_id: str) -> tuple[int, int, int, int]:
        """Return what is known of a run.

        Returns:
            Its number, new if it is not known; how far its journal has been applied: segment and position; and the
            largest number of a worker.
        """
        with self.engine.begin() as connection:
            if self.dialect == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727374)")
            run = self._one(connection, "SELECT run FROM parsl_run WHERE run_id = :run_id", run_id=run_id)
            if run is None:
                run = (self._one(connection, "SELECT max(run) FROM parsl_run") or (0,))[0] or 0
                run = (run + 1,)
                self._execute(
                    connection,
                    "INSERT INTO parsl_run (run, run_id, failed_count, completed_count) VALUES (:run, :run_id, 0, 0)",
                    run=run[0],
                    run_id=run_id,
                )
                self._execute(connection, "INSERT INTO parsl_journal VALUES (:run_id, 1, 0)", run_id=run_id)
            where = self._one(
                connection, "SELECT segment, position FROM parsl_journal WHERE run_id = :run_id", run_id=run_id
            )
            segment, position = where if where is not None else (1, 0)
            workers = self._one(connection, "SELECT max(worker) FROM parsl_worker WHERE run = :run", run=run[0])
            return int(run[0]), int(segment), int(position), int(workers[0] or 0)

    def workflow_name(self, run_id: str) -> str | None:
        """Return the name of a run's workflow; None before the run is in the database."""
        with self.engine.connect() as connection:
            row = self._one(connection, "SELECT workflow_name FROM parsl_run WHERE run_id = :run_id", run_id=run_id)
        return None if row is None else row[0]

    def write(self, run_id: str, rows: Rows, segment: int, position: int) -> None:
        """Write a batch of rows, and how far the journal has been applied with it: all or nothing.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: when that is not possible now, for example because of somebody's lock.
        """
        with self.engine.begin() as connection:
            self._upsert(connection, "parsl_task", list(rows.tasks.values()))
            self._upsert(connection, "parsl_try", list(rows.tries.values()))
            self._upsert(connection, "parsl_more", list(rows.more.values()))
            tally = [[rows.run, *key, *row] for key, row in rows.tally.items()]
            self._upsert(connection, "parsl_tally", tally)
            for table, values in rows.others.items():
                self._upsert(connection, table, values)
            rows.totals.level = totals_tables.write(connection, self._upsert, rows.run, rows.sums)
            if rows.began is not None:
                self._begin(connection, run_id, rows.began)
            self._execute(
                connection,
                "UPDATE parsl_run SET failed_count = failed_count + :failed, completed_count = completed_count + :ended"
                ", completed = coalesce(:completed, completed) WHERE run_id = :run_id",
                failed=rows.failed,
                ended=rows.ended,
                completed=rows.completed,
                run_id=run_id,
            )
            self._execute(
                connection,
                "UPDATE parsl_journal SET segment = :segment, position = :position WHERE run_id = :run_id",
                segment=segment,
                position=position,
                run_id=run_id,
            )

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # -- insides -------------------------------------------------------------------------------------------------

    def _begin(self, connection: Connection, run_id: str, facts: Mapping[str, Any]) -> None:
        known = [c for c in schema.columns("parsl_run")[2:] if c in facts]
        if known:
            values = ", ".join(f"{c} = :{c}" for c in known)
            statement = f"UPDATE parsl_run SET {values} WHERE run_id = :run_id"
            self._execute(connection, statement, run_id=run_id, **{c: facts[c] for c in known})

    def _execute(self, connection: Connection, statement: str, **values: Any) -> Any:
        return connection.execute(schema.sqlalchemy().text(statement), values)

    def _one(self, connection: Connection, statement: str, **values: Any) -> Any:
        return self._execute(connection, statement, **values).first()


def open_engine(url: str, read_only: bool = False) -> Engine:
    """Open a database.

    Args:
        url: SQLAlchemy's URL.
        read_only: whether nothing can be written: no database is made then.

    Raises:
        OptionalModuleMissing: when SQLAlchemy or the database's driver is not installed.
        ValueError: when the URL cannot be read, or names a kind of database other than SQLite and PostgreSQL.
        FileNotFoundError: when there is no such file to be read.
    """
    sa = schema.sqlalchemy()

    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError as e:
        raise ValueError(f"{url!r} is no URL of a database; an example is sqlite:///runinfo/monitoring.db") from e
    kind = parsed.get_backend_name()
    if kind not in {"sqlite", "postgresql"}:
        raise ValueError(f"the monitoring database can be in SQLite or PostgreSQL, not in {kind!r}")
    if kind == "postgresql":
        return _postgresql(parsed, read_only)
    path = parsed.database or ""
    if read_only and not os.path.exists(path):
        raise FileNotFoundError(f"there is no monitoring database at {os.path.abspath(path)}")
    if not read_only and os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    options: dict[str, Any] = {"creator": lambda: _read_sqlite(path)} if read_only else {}
    engine = sa.create_engine(parsed, connect_args={"timeout": LOCK_SECONDS}, **options)

    @sa.event.listens_for(engine, "connect")  # type: ignore[untyped-decorator]  # no type information where it is checked
    def connected(connection: Any, _record: Any) -> None:
        # The log beside the file lets readers go on while a batch is written. Where it cannot be had (some network
        # file systems), the database works without, and readers wait.
        connection.execute(f"PRAGMA busy_timeout = {int(LOCK_SECONDS * 1000)}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -65536")

    return engine  # type: ignore[no-any-return]  # no type information where it is checked


def _read_sqlite(path: str) -> sqlite3.Connection:
    """Open a file that cannot be written by this connection."""
    name = f"file:{quote(os.path.abspath(path))}?mode=ro"
    # Connections go from thread to thread, one at a time.
    connection = sqlite3.connect(name, uri=True, timeout=LOCK_SECONDS, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.OperationalError:
        # Readers share a file beside the database, and make it if need be. In a folder that cannot be written, as in
        # an archive, there is no writer either unless there is its log.
        if os.access(os.path.dirname(os.path.abspath(path)), os.W_OK) or os.path.exists(f"{path}-wal"):
            connection.close()
            raise
        connection.close()
        connection = sqlite3.connect(f"{name}&immutable=1", uri=True, timeout=LOCK_SECONDS, check_same_thread=False)
    return connection


def _postgresql(url: Any, read_only: bool) -> Engine:
    sa = schema.sqlalchemy()
    if url.drivername == "postgresql":
        # Whichever of the drivers is installed.
        import importlib.util

        driver = next((d for d in ("psycopg2", "psycopg") if importlib.util.find_spec(d)), None)
        if driver is None:
            from parsl.errors import OptionalModuleMissing

            raise OptionalModuleMissing(["psycopg2"], "A PostgreSQL database needs it: pip install psycopg2-binary")
        url = url.set(drivername=f"postgresql+{driver}")
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})

    @sa.event.listens_for(engine, "connect")  # type: ignore[untyped-decorator]  # no type information where it is checked
    def connected(connection: Any, _record: Any) -> None:
        # Not as an option of the connection, since the URL may have some.
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(LOCK_SECONDS * 1000)}")
            if read_only:
                cursor.execute("SET default_transaction_read_only = on")
        connection.commit()

    return engine  # type: ignore[no-any-return]  # no type information where it is checked
