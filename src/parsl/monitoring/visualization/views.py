"""The pages: what each asks of the database, and which template shows it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from parsl.dataflow.states import States
from parsl.monitoring.queries import failures, plots
from parsl.monitoring.queries.graphs import numbers
from parsl.monitoring.queries.runs import Run, RunQueries, Task
from parsl.monitoring.queries.waiting import why_waiting
from parsl.monitoring.visualization import logs, words
from parsl.monitoring.visualization.drawings import DRAWINGS, TASK_DRAWING, Drawing, task_url
from parsl.monitoring.visualization.source import Answer, NotThereYetError, Source, UnreadableError

# So many tasks are on a page of the list, and so many runs on the first page.
PAGE_TASKS = 100
PAGE_RUNS = 200

# Numbers of tasks are that large at most, in either database.
_LARGEST = 2**63 - 1

# Those that can be asked for; a task in the others is so for a moment only.
FILTER_STATES = (
    States.pending, States.launched, States.joining, States.exec_done, States.memo_done, States.failed, States.dep_fail,
)  # fmt: skip


def run_url(run_id: str, *parts: str | int, **query: str | int | None) -> str:
    """Return the path of a page of a run."""
    path = "/".join(quote(str(part), safe="") for part in ("runs", run_id, *parts))
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"/{path}" + (f"?{urlencode(given)}" if given else "")


def make_environment() -> Environment:
    """Make what renders templates. All that is put into them is escaped."""
    made = Environment(
        loader=PackageLoader("parsl.monitoring.visualization"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "duration": words.duration,
        "moment": words.moment,
        "size": words.size,
        "count": words.count,
        "state_word": words.state_word,
        "state_kind": words.state_kind,
    }
    made.globals |= {
        "run_url": run_url,
        "segments": words.segments,
        "explanations": words.EXPLANATIONS,
        "shown_state": shown_state,
        "States": States,
        "now": time.time,
    }
    return made


def shown_state(task: Task) -> States | None:
    """Return the state of a task; `running` where a worker is known to have begun it."""
    if task.state is States.launched and task.running is not None and task.running_ended is None:
        return States.running
    return task.state


class NotWrittenYetError(HTTPException):
    """A run or a task is not in the database, and may come.

    Args:
        text: what is missing, and what may follow.
        facts: what the page that waits for it is rendered with.
    """

    def __init__(self, text: str, **facts: Any) -> None:
        super().__init__(404, text)
        self.facts = facts


class Views:
    """Answers requests.

    Args:
        source: the database.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._environment = make_environment()

    # -- how a page is made --------------------------------------------------------------------------------------

    def render(self, name: str, status: int = 200, **facts: Any) -> Response:
        """Render a template."""
        given = {"run": None, "tab": "", "stamp": "", "stale": 0.0, "live": True, "source": self._source.name}
        given |= {"watched": "", **facts}
        return HTMLResponse(self._environment.get_template(f"{name}.html").render(page=name, **given), status)

    async def _page(
        self, name: str, run_id: str, question: Callable[[RunQueries, Run], dict[str, Any]], *key: Any
    ) -> Response:
        """Render a page of a run from what the database answers to a question."""
        answer, stamp = await self._of_run((name, run_id, *key), run_id, question)
        return self.render(name, tab=name, stamp=stamp, stale=answer.stale, **answer.value)

    async def _of_run(
        self, key: Any, run_id: str, question: Callable[[RunQueries, Run], Any]
    ) -> tuple[Answer[Any], str]:
        stamp = await self._source.stamp(run_id)

        def ask(queries: RunQueries) -> Any:
            run = queries.run(run_id)
            return None if run is None else question(queries, run)

        answer = await self._source.ask_once(key, stamp, ask)
        if answer.value is None:
            text = "There is no such run in this database. If its program is about to start, it appears here by itself."
            raise NotWrittenYetError(text, title="No such run yet", watched=run_id, stamp=stamp, stale=answer.stale)
        return answer, stamp

    # -- pages ---------------------------------------------------------------------------------------------------

    async def runs(self, request: Request) -> Response:
        """All runs, the newest first."""
        stamp = await self._source.stamp("")

        def ask(queries: RunQueries) -> list[tuple[Run, dict[States, int]]]:
            return [(run, queries.state_counts(run.run)) for run in queries.runs(limit=PAGE_RUNS)]

        answer = await self._source.ask_once("runs", stamp, ask)
        return self.render("runs", stamp=stamp, stale=answer.stale, runs=answer.value, most=PAGE_RUNS)

    async def overview(self, request: Request) -> Response:
        """One run: how far it is, its apps, what has failed, where it runs."""

        def ask(queries: RunQueries, run: Run) -> dict[str, Any]:
            counts = queries.state_counts(run.run)
            bad = counts.get(States.failed, 0) + counts.get(States.dep_fail, 0)
            return {
                "run": run,
                "counts": counts,
                "apps": queries.apps(run.run),
                "causes": failures.causes(queries, run.run, limit=5) if bad else [],
                "blocks": _by_status(queries.blocks(run.run)),
                "managers": queries.managers(run.run),
            }

        return await self._page("overview", _run_id(request), ask)

    async def tasks(self, request: Request) -> Response:
        """The tasks of a run, page by page, those asked for."""
        app, executor = _text(request, "app"), _text(request, "executor")
        state, after = _state(request), _number(request.query_params.get("after"))
        newest = request.query_params.get("order") == "newest"
        number = _number(request.query_params.get("task"))
        if number is not None:
            return Response(status_code=303, headers={"Location": task_url(_run_id(request), number)})

        def ask(queries: RunQueries, run: Run) -> dict[str, Any]:
            found = queries.tasks(
                run.run, app=app, state=state, executor=executor, after=after, limit=PAGE_TASKS + 1, newest=newest
            )
            return {
                "run": run,
                "tasks": found[:PAGE_TASKS],
                "more": len(found) > PAGE_TASKS,
                "apps": sorted(a.app or "" for a in queries.apps(run.run)),
                "states": FILTER_STATES,
                "asked": {"app": app, "state": state, "executor": executor, "after": after, "newest": newest},
            }

        run_id = _run_id(request)
        answer, stamp = await self._of_run(("tasks", run_id, app, state, executor, after, newest), run_id, ask)
        # Apart, since it takes long in a large run, and the list should not be old for that.
        executors, _ = await self._of_run(
            ("executors", run_id), run_id, lambda queries, run: plots.executors(queries, run.run)
        )
        return self.render(
            "tasks", tab="tasks", stamp=stamp, stale=answer.stale, executors=executors.value, **answer.value
        )

    async def task(self, request: Request) -> Response:
        """One task: its tries, what it waits for, why it failed, what it used, the ends of its streams."""
        number = _number(request.path_params["task"])

        def ask(queries: RunQueries, run: Run) -> dict[str, Any]:
            known = None if number is None else queries.task(run.run, number)
            if known is None:
                return {"run": run, "known": None}
            more = known["more"][0] if known["more"] else {}
            return {
                "run": run,
                "known": known,
                "more": more,
                "depends": _linked(queries, run.run, more.get("depends")),
                "joins": _linked(queries, run.run, more.get("joins")),
                "streams": _streams(more),
                "failures": _of_tries(known["failure"]),
                "waits": None if known["task"].returned is not None else why_waiting(queries, run.run, number or 0),
            }

        answer, stamp = await self._of_run(("task", _run_id(request), number), _run_id(request), ask)
        if answer.value["known"] is None:
            raise _no_task(answer.value["run"], number, stamp=stamp, stale=answer.stale)
        return self.render("task", tab="tasks", stamp=stamp, stale=answer.stale, **answer.value)

    async def timeline(self, request: Request) -> Response:
        """What ran when and where."""
        return await self._page("timeline", _run_id(request), lambda _queries, run: {"run": run})

    async def graph(self, request: Request) -> Response:
        """Which tasks wait for which."""
        return await self._page("graph", _run_id(request), lambda _queries, run: {"run": run})

    async def failed(self, request: Request) -> Response:
        """What has failed, grouped by cause, with remote tracebacks and the ends of logs."""

        def ask(queries: RunQueries, run: Run) -> dict[str, Any]:
            found = failures.causes(queries, run.run)
            return {
                "run": run,
                "counts": queries.state_counts(run.run),
                "causes": found,
                "streams": {cause.tasks[0]: _task_streams(queries, run.run, cause.tasks[0]) for cause in found[:10]},
            }

        return await self._page("failures", _run_id(request), ask)

    async def resources(self, request: Request) -> Response:
        """What tries used, by node and by app."""

        def ask(queries: RunQueries, run: Run) -> dict[str, Any]:
            return {"run": run, "nodes": queries.resources_by_node(run.run), "slowest": queries.slowest(run.run, 15)}

        return await self._page("resources", _run_id(request), ask)

    async def nodes(self, request: Request) -> Response:
        """Blocks and managers."""

        def ask(queries: RunQueries, run: Run) -> dict[str, Any]:
            blocks = queries.blocks(run.run)
            return {"run": run, "blocks": blocks, "summary": _by_status(blocks), "managers": queries.managers(run.run)}

        return await self._page("nodes", _run_id(request), ask)

    async def logs(self, request: Request) -> Response:
        """The ends of the log files in the run's folder."""
        run_id = _run_id(request)
        answer, stamp = await self._of_run(("logs", run_id), run_id, lambda _queries, run: run)
        files = await asyncio.to_thread(logs.find, answer.value.rundir)
        wanted = request.query_params.get("file")
        # Only what has been found there: a path of somebody else's making leads nowhere.
        chosen = next((f for f in files if f.name == wanted), None) if wanted else next(iter(files), None)
        if wanted and chosen is None:
            raise HTTPException(404, "There is no such log file in the folder of this run.")
        text = None
        if chosen is not None:
            text = await asyncio.to_thread(logs.tail, f"{answer.value.rundir}/{chosen.name}")
        return self.render("logs", tab="logs", stamp=stamp, run=answer.value, files=files, chosen=chosen, text=text)

    # -- data ----------------------------------------------------------------------------------------------------

    async def figure(self, request: Request) -> Response:
        """A plot, for plotly."""
        drawing = DRAWINGS.get(request.path_params["name"])
        if drawing is None:
            raise HTTPException(404, "There is no such plot.")
        return await self._figure(_run_id(request), drawing)

    async def task_figure(self, request: Request) -> Response:
        """The plot of what one task used."""
        number = _number(request.path_params["task"])
        if number is None:
            raise HTTPException(404, "There is no such task.")
        return await self._figure(_run_id(request), TASK_DRAWING, number)

    async def _figure(self, run_id: str, drawing: Drawing, *about: int) -> Response:
        def ask(queries: RunQueries, run: Run) -> tuple[Run, Any]:
            return run, drawing.ask(queries, run, *about)

        answer, stamp = await self._of_run(("data", drawing.data, run_id, *about), run_id, ask)
        figure = await asyncio.to_thread(drawing.draw, *answer.value)
        return JSONResponse({"stamp": stamp, "stale": answer.stale, "figure": figure})

    async def events(self, request: Request) -> Response:
        """Tell the browser, as server-sent events, whenever there is something new in a run."""
        run_id = request.query_params.get("run", "")

        async def lines() -> AsyncIterator[str]:
            yield "retry: 2000\n\n"
            async for stamp in self._source.changes(run_id):
                yield ":\n\n" if stamp is None else f"data: {stamp}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    # -- what is not as it should be --------------------------------------------------------------------------------

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer to what does not exist, or was asked wrongly."""
        assert isinstance(error, HTTPException)
        if isinstance(error, NotWrittenYetError):
            return self.render("coming", error.status_code, text=error.detail, **error.facts)
        title = "Not found" if error.status_code == 404 else "That cannot be"
        return self.render("message", error.status_code, title=title, text=error.detail, live=False)

    async def not_there_yet(self, request: Request, error: Exception) -> Response:
        """Show that there is nothing yet; the page waits."""
        assert isinstance(error, NotThereYetError)
        return self.render("waiting", 503)

    async def unreadable(self, request: Request, error: Exception) -> Response:
        """Show why the database cannot be read; the page tries again."""
        assert isinstance(error, UnreadableError)
        return self.render("message", 503, title="The database cannot be read", text=str(error))

    def ask_token(self, request: Request, wrong: bool) -> Response:
        """Ask for the token."""
        return self.render("token", 401, wrong=wrong, live=False)


def _no_task(run: Run, number: int | None, **facts: Any) -> HTTPException:
    """Say that a task is not in the database: for good, or that it may be about to come."""
    if number is None:
        return HTTPException(404, "There is no such task: tasks have whole numbers, from 0 on.")
    if run.completed is not None:
        return HTTPException(404, f"There is no task {number} in this run, which has ended.")
    text = (
        f"The run is there, and its task {number} is not in the database yet. If it has just been submitted, or is "
        "about to be, it appears here by itself, within a second or so."
    )
    return NotWrittenYetError(text, title=f"Task {number} is not there yet", run=run, tab="tasks", **facts)


# -- what a request says -----------------------------------------------------------------------------------------------


def _run_id(request: Request) -> str:
    run_id: str = request.path_params["run_id"]
    if "\0" in run_id:
        raise HTTPException(404, "There is no such run in this database.")
    return run_id


def _text(request: Request, name: str) -> str | None:
    given = request.query_params.get(name) or None
    if given is not None and "\0" in given:
        raise HTTPException(400, f"There is no {name} of that name.")
    return given


def _state(request: Request) -> States | None:
    given = request.query_params.get("state")
    if not given:
        return None
    try:
        return States[given]
    except KeyError:
        raise HTTPException(400, "There is no state of that name.") from None


def _number(given: str | None) -> int | None:
    """Read the number of a task; None where there is none, or it is no number."""
    if not given or not given.isascii() or not given.isdigit() or len(given) > 19:
        return None
    return min(int(given), _LARGEST)


# -- what a page shows -------------------------------------------------------------------------------------------------


def _by_status(blocks: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count blocks by executor and status."""
    found: dict[str, dict[str, int]] = {}
    for block in blocks:
        counts = found.setdefault(block["executor"] or "", {})
        counts[block["status"] or ""] = counts.get(block["status"] or "", 0) + 1
    return found


def _linked(queries: RunQueries, run: int, text: str | None) -> list[Task]:
    """Look up the first of the tasks that a text names, those first that have not ended or have failed."""
    found = queries.tasks_of(run, numbers(text)[:200])
    return sorted(found, key=lambda task: task.state in {States.exec_done, States.memo_done})


def _streams(more: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
    """Return name, path and end of each of a task's standard streams that go to files."""
    found = []
    for name in ("stdout", "stderr"):
        path = more.get(name)
        if path:
            # A relative path is so to the folder where the program ran, and that is not known.
            found.append((name, path, logs.tail(path) if os.path.isabs(path) else None))
    return found


def _task_streams(queries: RunQueries, run: int, task: int) -> list[tuple[str, str, str | None]]:
    rows = queries.select("SELECT stdout, stderr FROM parsl_more WHERE run = :run AND task = :task", run=run, task=task)
    return _streams(dict(zip(("stdout", "stderr"), rows[0], strict=True))) if rows else []


def _of_tries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the failures of a task, the last try first; the final one has the traceback."""
    return sorted(rows, key=lambda row: (row["try_id"], row["kind"] is not None), reverse=True)
