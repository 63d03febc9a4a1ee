"""The terminal view, in textual's pilot."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("textual")

from textual.widgets import DataTable, Input, ProgressBar, Static

from parsl.monitoring.top.view import Details, TopApp
from tests.monitoring import finished


@pytest.fixture
def opened(tmp_path):
    queries, run = finished.opened(tmp_path)
    with queries:
        yield queries, run


def piloted(opened, script, run_id=None):
    """Run the view, and in it a script of what a user does; without a timer, so that looks come when asked for."""
    queries, run = opened

    async def go():
        app = TopApp(queries, run_id or run.run_id, 3600)
        async with app.run_test(size=(130, 40)) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()

            async def press(*keys):
                for key in keys:
                    await pilot.press(key)
                    await pilot.pause()
                    await app.workers.wait_for_complete()
                    await pilot.pause()

            await script(app, press)

    asyncio.run(go())


def text(app, name):
    return str(app.query_one(f"#{name}", Static).render())


def numbers(app):
    table = app.query_one("#tasks", DataTable)
    return [int(str(table.get_row_at(at)[0])) for at in range(table.row_count)]


def test_what_is_to_be_seen(opened):
    async def script(app, press):
        assert "census <script>alert(1)</script> run-1" in text(app, "headline")
        assert "120 of 120 tasks ended" in text(app, "headline")
        assert app.query_one("#bar", ProgressBar).percentage == 1.0
        assert app.query_one("#apps", DataTable).row_count == 2
        assert app.query_one("#blocks", DataTable).row_count == 1
        assert numbers(app) == list(range(50))
        assert text(app, "wish") == "Tasks, page 1"

    piloted(opened, script)


def test_pages(opened):
    async def script(app, press):
        await press("n")
        assert (numbers(app)[0], text(app, "wish")) == (50, "Tasks, page 2")
        await press("n", "n")
        assert (numbers(app), text(app, "wish")) == (list(range(100, 120)), "Tasks, page 3")
        await press("p", "p", "p")
        assert (numbers(app)[0], text(app, "wish")) == (0, "Tasks, page 1")

    piloted(opened, script)


def test_filters(opened):
    async def script(app, press):
        await press("f")
        assert numbers(app) == list(range(9, 120, 10))
        await press("f")
        assert numbers(app)[:2] == [0, 1]
        await press("s")
        assert (numbers(app), text(app, "wish")) == ([], "Tasks that are pending, page 1")
        await press("t")
        assert (numbers(app)[0], text(app, "wish")) == (119, "Tasks that ran longest")
        await press("n", "t", "slash", "f", "i", "t", "enter")
        assert (numbers(app)[:3], text(app, "wish")) == ([1, 3, 5], "Tasks of app fit, page 1")
        assert not app.query_one("#filter", Input).display

    piloted(opened, script)


def test_a_task_in_full(opened):
    async def script(app, press):
        await press("f", "down", "enter")
        assert isinstance(app.screen, Details)
        shown = str(app.screen.query_one("#details", Static).render())
        assert "Task 19 (fit) has ended: failed." in shown
        assert "Traceback of 19 <script>" in shown
        await press("escape")
        assert not isinstance(app.screen, Details)

    piloted(opened, script)


def test_a_database_that_cannot_be_read_is_tried_again(opened):
    queries, _ = opened
    take = queries.state_counts

    async def script(app, press):
        queries.state_counts = broken
        await press("r")
        assert "cannot be read now: locked" in text(app, "trouble")
        assert numbers(app)[:2] == [0, 1]
        queries.state_counts = take
        await press("r")
        assert text(app, "trouble") == ""

    def broken(run):
        raise RuntimeError("locked")

    piloted(opened, script)


def test_it_ends_when_it_is_told(opened):
    async def script(app, press):
        await press("q")
        assert app._exit

    piloted(opened, script)
