from __future__ import annotations

import asyncio
import os
import sqlite3
import threading

import pytest

from parsl.monitoring.queries.runs import RunQueries
from parsl.monitoring.visualization import source as module
from parsl.monitoring.visualization.source import NotThereYetError, Source, UnreadableError
from tests.monitoring.visualization.made import Writer, began, submitted, write


@pytest.fixture
def file_url(tmp_path):
    return f"sqlite:///{tmp_path}/monitoring.db"


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario(), 60))


def test_what_is_not_there_yet_is_waited_for(file_url, tmp_path):
    async def scenario():
        source = Source(file_url, 0.01)
        with pytest.raises(NotThereYetError, match="no monitoring database"):
            await source.stamp("")
        (tmp_path / "monitoring.db").touch()
        with pytest.raises(NotThereYetError, match="nothing has been written"):
            await source.stamp("")
        changes = source.changes("")
        before = await anext(changes)
        await asyncio.to_thread(write, file_url, began())
        after = await anext(changes)
        while after != await source.stamp(""):
            after = await anext(changes)
        assert before != after
        await changes.aclose()
        await source.close()

    run(scenario)
    assert not os.path.exists(f"{tmp_path}/other.db")


def test_a_database_of_somebody_else_is_left_alone(file_url, tmp_path):
    (tmp_path / "monitoring.db").write_bytes(b"not a database at all" * 100)

    async def scenario():
        source = Source(file_url)
        with pytest.raises(UnreadableError, match="not a database"):
            await source.stamp("")
        await source.close()

    run(scenario)


def test_a_later_version_is_named(file_url, tmp_path):
    write(file_url, began())
    with sqlite3.connect(tmp_path / "monitoring.db") as connection:
        connection.execute("UPDATE parsl_schema SET version = 999")
    connection.close()

    async def scenario():
        source = Source(file_url)
        with pytest.raises(UnreadableError, match="version 999"):
            await source.stamp("")
        await source.close()

    run(scenario)


def test_a_run_that_changes_has_another_stamp_and_others_have_not(url):
    async def scenario():
        writer = Writer(url)
        writer.write(began(), run_id="one")
        writer.write(began(), run_id="other")
        source = Source(url)
        one, other, all_runs = [await source.stamp(name) for name in ("one", "other", "")]
        writer.write(submitted(0), run_id="one")
        assert await source.stamp("one") != one
        assert await source.stamp("other") == other
        assert await source.stamp("") != all_runs
        assert await source.stamp("none") == ""
        writer.close()
        await source.close()

    run(scenario)


def test_many_who_ask_the_same_ask_once(url, monkeypatch):
    monkeypatch.setattr(module, "_QUICK_SECONDS", 1e9)
    write(url, began())
    asked = []
    asking, go_on = threading.Event(), threading.Event()

    def question(queries):
        asked.append(threading.get_ident())
        asking.set()
        go_on.wait()
        return len(asked)

    async def scenario():
        source = Source(url)
        askers = [asyncio.create_task(source.ask_once("key", "stamp", question)) for _ in range(20)]
        await asyncio.to_thread(asking.wait)
        go_on.set()
        assert {answer.value for answer in await asyncio.gather(*askers)} == {1}
        assert (await source.ask_once("key", "stamp", question)).value == 1
        assert (await source.ask_once("key", "later", question)).value == 2
        assert (await source.ask_once("other", "stamp", question)).value == 3
        await source.close()

    run(scenario)


def test_what_takes_long_is_asked_seldom(url, monkeypatch):
    write(url, began())
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def question(queries):
        now[0] += 2.0
        return now[0]

    async def scenario():
        source = Source(url)
        assert (await source.ask_once("key", "1", question)).value == 102.0
        now[0] += 5.0
        answer = await source.ask_once("key", "2", question)
        assert (answer.value, answer.stale) == (102.0, 15.0)
        now[0] += 15.0
        answer = await source.ask_once("key", "2", question)
        assert (answer.value, answer.stale) == (124.0, 0.0)
        await source.close()

    run(scenario)


def test_a_question_that_fails_is_asked_again(url):
    write(url, began())

    async def scenario():
        source = Source(url)
        with pytest.raises(UnreadableError, match=r"no such table|does not exist"):
            await source.ask_once("key", "1", lambda queries: queries.select("SELECT * FROM nowhere"))
        assert (await source.ask_once("key", "1", lambda queries: 5)).value == 5
        await source.close()

    run(scenario)


def test_there_is_one_look_for_all_who_watch_and_none_for_nobody(url, monkeypatch):
    write(url, began())
    looks = []
    real = RunQueries.stamps
    monkeypatch.setattr(RunQueries, "stamps", lambda self: looks.append(1) or real(self))

    async def scenario():
        source = Source(url, 3600)
        watchers = [source.changes("run-1") for _ in range(5)]
        stamps = [await anext(watcher) for watcher in watchers]
        assert len(set(stamps)) == 1
        assert len(looks) == 1
        for watcher in watchers:
            await watcher.aclose()
        assert source._watch is None
        await source.close()

    run(scenario)


def test_those_who_watch_hear_that_nothing_happens_and_that_it_ends(url):
    write(url, began())

    async def scenario():
        source = Source(url, 0.01)
        watcher = source.changes("run-1", silence=0.01)
        while await anext(watcher) is None:
            pass
        assert await anext(watcher) is None
        await source.close()
        assert [stamp async for stamp in watcher] == []

    run(scenario)


def test_a_database_that_was_replaced_is_opened_anew(file_url, tmp_path):
    async def scenario():
        write(file_url, began(workflow_name="old"))
        source = Source(file_url)
        answer = await source.ask_once("key", "1", lambda queries: queries.runs()[0].workflow_name)
        assert answer.value == "old"
        for path in tmp_path.iterdir():
            path.unlink()
        write(file_url, began(workflow_name="new"))
        answer = await source.ask_once("key", "2", lambda queries: queries.runs()[0].workflow_name)
        assert answer.value == "new"
        await source.close()

    run(scenario)


@pytest.mark.parametrize("statement", ["DELETE FROM parsl_run", "CREATE TABLE x (a INTEGER)"])
def test_nothing_can_be_written(url, statement):
    write(url, began())

    def try_it(queries):
        with queries.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                # Not even by one who knows how to switch off what a connection is told.
                connection.exec_driver_sql("PRAGMA query_only = OFF")
            connection.exec_driver_sql(statement)

    async def scenario():
        source = Source(url)
        with pytest.raises(UnreadableError, match=r"readonly|read-only"):
            await source.ask(try_it)
        await source.close()

    run(scenario)
