"""The database as the page sees it: opened when it is there, asked once for many viewers, watched for changes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.schema import sqlalchemy
from parsl.monitoring.store import open_engine

T = TypeVar("T")

# While somebody watches, the database is looked at so often: once for all of them.
LOOK_SECONDS = 1.0

# An answer that took long is not asked for again before so many times as long have passed.
REST = 10.0

# What is quicker than this is always up to date.
_QUICK_SECONDS = 0.05

# So many answers are kept, and so many questions are asked at a time.
_MOST_ANSWERS = 256
_MOST_QUESTIONS = 4


class NotThereYetError(Exception):
    """There is no database, or nothing in it: it may come."""


class UnreadableError(Exception):
    """The database cannot be read: the text says why."""


@dataclass
class Answer(Generic[T]):
    """What the database has answered.

    Attributes:
        value: the answer.
        stale: seconds until it is worth asking again, since there is newer; 0.0 when it is up to date.
    """

    value: T
    stale: float


@dataclass
class _Kept:
    stamp: str
    value: Any
    took: float
    at: float


class Source:
    """A monitoring database; all its methods are for one event loop.

    Args:
        url: SQLAlchemy's URL of it.
        look_seconds: how often it is looked at while somebody watches.

    Raises:
        ValueError: when the URL cannot be read, or names a kind of database other than SQLite and PostgreSQL.
        OptionalModuleMissing: when the database's driver is not installed.
    """

    def __init__(self, url: str, look_seconds: float = LOOK_SECONDS) -> None:
        self._url = url
        self._look_seconds = look_seconds
        with contextlib.suppress(FileNotFoundError):  # it may come
            open_engine(url, read_only=True).dispose()
        made = sqlalchemy().engine.make_url(url)
        self.name: str = made.render_as_string(hide_password=True)
        self._path: str | None = made.database if made.get_backend_name() == "sqlite" else None
        self._queries: RunQueries | None = None
        self._inode: tuple[int, int] | None = None
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self._asking: dict[Any, asyncio.Future[None]] = {}
        self._free = asyncio.Semaphore(_MOST_QUESTIONS)
        self._opening = asyncio.Lock()
        self._stamps: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._watchers = 0
        self._watch: asyncio.Task[None] | None = None
        self.closed = False

    # -- questions -----------------------------------------------------------------------------------------------

    async def ask(self, question: Callable[[RunQueries], T]) -> T:
        """Ask the database, in a thread.

        Args:
            question: is given the queries.

        Raises:
            NotThereYetError: when there is no database yet.
            UnreadableError: when it cannot be read now.
        """
        queries = await self._open()
        errors = sqlalchemy().exc
        async with self._free:
            try:
                return await asyncio.to_thread(question, queries)
            except errors.DBAPIError as e:
                raise UnreadableError(f"The database cannot be read now: {e.orig}") from e

    async def ask_once(self, key: Any, stamp: str, question: Callable[[RunQueries], T]) -> Answer[T]:
        """Ask the database unless the answer is known: once for all who ask the same, until something changes.

        Args:
            key: says what is asked.
            stamp: the state of the run that it is asked about: see `stamp`.
            question: is given the queries.
        """
        while key in self._asking:
            await asyncio.wait([self._asking[key]])
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            rest = 0.0 if kept.took < _QUICK_SECONDS else kept.at + REST * kept.took - time.monotonic()
            if kept.stamp == stamp or rest > 0:
                return Answer(kept.value, 0.0 if kept.stamp == stamp else rest)
        self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            began = time.monotonic()
            value = await self.ask(question)
            self._kept[key] = _Kept(stamp, value, time.monotonic() - began, time.monotonic())
            while len(self._kept) > _MOST_ANSWERS:
                self._kept.popitem(last=False)
            return Answer(value, 0.0)
        finally:
            self._asking.pop(key).set_result(None)

    async def stamp(self, run_id: str) -> str:
        """Return a text that changes whenever something in a run does; with an empty id, in any."""
        return (await self._look()).get(run_id, "")

    async def _look(self) -> dict[str, str]:
        rows = await self.ask(RunQueries.stamps)
        stamps = {run_id: _digest(row) for run_id, row in rows.items()}
        stamps[""] = _digest(sorted(stamps.items()))
        return stamps

    async def _open(self) -> RunQueries:
        async with self._opening:
            inode = self._inode_now()
            if self._queries is not None and inode == self._inode:
                return self._queries
            # The file has been replaced, as when the folder of runs is deleted and made anew.
            self._forget()
            try:
                self._queries = await asyncio.to_thread(RunQueries, self._url)
            except FileNotFoundError as e:
                raise NotThereYetError(str(e)) from e
            except ValueError as e:
                if await asyncio.to_thread(self._is_empty):
                    raise NotThereYetError(f"nothing has been written to {self.name} yet") from e
                raise UnreadableError(str(e)) from e
            except sqlalchemy().exc.SQLAlchemyError as e:
                raise UnreadableError(f"The database cannot be opened now: {getattr(e, 'orig', e)}") from e
            self._inode = inode
            return self._queries

    def _is_empty(self) -> bool:
        engine = open_engine(self._url, read_only=True)
        try:
            with engine.connect() as connection:
                tables: list[str] = sqlalchemy().inspect(connection).get_table_names()
                return "workflow" not in tables and "parsl_run" not in tables
        finally:
            engine.dispose()

    def _inode_now(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _forget(self) -> None:
        if self._queries is not None:
            self._queries.close()
            self._queries = None
        self._kept.clear()

    # -- changes -------------------------------------------------------------------------------------------------

    async def changes(self, run_id: str, silence: float = 15.0) -> AsyncIterator[str | None]:
        """Yield the stamp of a run now, and whenever it changes; None when nothing has for a while.

        Args:
            run_id: which run; empty for any.
            silence: seconds after which None is yielded, so that it is noticed when the viewer is gone.
        """
        self._watchers += 1
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_database())
        seen: str | None = None
        try:
            while not self.closed:
                stamp = self._stamps.get(run_id, "")
                if stamp != seen and self._stamps:
                    seen = stamp
                    yield stamp
                    continue
                try:
                    async with self._changed:
                        await asyncio.wait_for(self._changed.wait(), silence)
                except asyncio.TimeoutError:
                    yield None
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                self._unwatch()

    async def _watch_database(self) -> None:
        while True:
            try:
                stamps = await self._look()
            except (NotThereYetError, UnreadableError) as e:
                stamps = {"": _digest(str(e))}
            if stamps != self._stamps:
                self._stamps = stamps
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(self._look_seconds)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._stamps = {}

    async def close(self) -> None:
        """Let go of all who watch, and of the database."""
        self.closed = True
        self._unwatch()
        async with self._changed:
            self._changed.notify_all()
        self._forget()


def _digest(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
