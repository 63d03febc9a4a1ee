from __future__ import annotations

import html
import json
import re
import sqlite3
from urllib.parse import quote, unquote, urlencode

import pytest

from tests.monitoring.visualization.made import (
    EVIL,
    Writer,
    a_run,
    began,
    completed,
    failed,
    ran,
    serving,
    submitted,
    write,
)  # fmt: skip

pytestmark = pytest.mark.leaks_ok("the module's server opens and starts what it needs when it is asked first")

PAGES = ["", "/tasks", "/failures", "/timeline", "/graph", "/resources", "/nodes", "/logs"]
FIGURES = ["states", "durations", "busy", "gantt", "graph", "cpu", "memory"]

INJECTIONS = [
    "'", '"', "' OR '1'='1", "'; DROP TABLE parsl_task; --", "1 UNION SELECT 1,2,3", "%", "\\", "\0", ":run", "%(run)s",
    "{{7*7}}", "../../etc/passwd", EVIL, "ü" * 500, "-1", "1e400", "9" * 40, "\N{FULLWIDTH DIGIT ONE}", "0x10",
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    run_dir = folder / "000"
    run_dir.mkdir()
    (run_dir / "parsl.log").write_text(f"all is well {EVIL}\n")
    (run_dir / "out.txt").write_text("packing\n")
    (run_dir / "err.txt").write_text(f"nearly full {EVIL}\n")
    (folder / "secret.log").write_text("nobody's business")
    streams = {"stdout": str(run_dir / "out.txt"), "stderr": str(run_dir / "err.txt")}
    records = [*a_run(), began(rundir=str(run_dir)), submitted(8, EVIL, **streams), *ran(8, EVIL)]
    write(f"sqlite:///{folder}/monitoring.db", *records)
    return folder / "monitoring.db"


@pytest.fixture(scope="module")
def client(path):
    with serving(f"sqlite:///{path}") as made:
        yield made


def text_of(page):
    """The text of a page, without mark-up."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_runs_are_listed(client):
    text = text_of(client.get("/").text)
    assert "census under way" in text
    assert "1970-01-12" in text


def test_the_overview_tells_how_far_it_is(client):
    text = text_of(client.get("/runs/run-1").text)
    for part in ("9 tasks", "3 done", "3 failed", "simulate", "2 ValueError", "1 of 1 managers", "1 block running"):
        assert part in text


def test_tasks_can_be_searched(client):
    def found(**query):
        page = client.get(f"/runs/run-1/tasks?{urlencode(query)}").text
        return [int(number) for number in re.findall(r'tasks/(\d+)">\d+</a></td>', page)]

    assert found() == list(range(9))
    assert found(order="newest") == list(range(8, -1, -1))
    assert found(app="simulate") == [0, 1, 2, 3]
    assert found(app="simulate", state="failed") == [2, 3]
    assert found(state="dep_fail") == [4]
    assert found(state="pending") == [5, 7]
    assert found(state="joining") == [6]
    assert found(executor="htex", after=6) == [7, 8]
    assert found(executor="other") == found(app="none") == []
    assert found(app=EVIL) == [5, 8]


def test_the_list_is_paged_by_number(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    write(url, began(), *(submitted(n) for n in range(250)))
    with serving(url) as client:
        seen, path = [], "/runs/run-1/tasks?app=app"
        while path:
            page = client.get(path).text
            seen += re.findall(r'tasks/(\d+)">\d+</a></td>', page)
            following = re.search(r'rel="next" href="([^"]+)"', page)
            path = html.unescape(following[1]) if following else None
    assert list(map(int, seen)) == list(range(250))


def test_a_number_leads_to_its_task(client):
    answer = client.get("/runs/run-1/tasks?task=4&app=simulate")
    assert (answer.status, answer.headers["Location"]) == (303, "/runs/run-1/tasks/4")


def test_a_task_tells_why_it_failed(client):
    text = text_of(client.get("/runs/run-1/tasks/2").text)
    for part in ("Task 2 simulate failed", f"ValueError({EVIL!r})", "Traceback (most recent call last):", "node-1"):
        assert part in text


def test_a_task_tells_what_it_waits_for(client):
    assert "Depends on" in text_of(client.get("/runs/run-1/tasks/4").text)
    page = client.get("/runs/run-1/tasks/5").text
    assert '/runs/run-1/tasks/4"' in page
    assert "not run" in text_of(page)
    assert "as a join app" in text_of(client.get("/runs/run-1/tasks/6").text)


def test_the_ends_of_its_streams_are_shown(client):
    text = text_of(client.get("/runs/run-1/tasks/8").text)
    assert "packing" in text
    assert f"nearly full {EVIL}" in text


def test_a_stream_that_cannot_be_read_is_named(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    write(url, began(), submitted(0, stdout="/nowhere/out", stderr="etc/passwd"), *ran(0))
    with serving(url) as client:
        text = text_of(client.get("/runs/run-1/tasks/0").text)
    assert text.count("This machine cannot read that file") == 2


def test_failures_have_their_remote_traceback(client):
    text = text_of(client.get("/runs/run-1/failures").text)
    assert "2 failed, 1 not run" in text
    assert f"Traceback (most recent call last): {EVIL} ValueError" in text


def test_logs_are_shown_and_no_other_file(client, path):
    assert f"all is well {EVIL}" in text_of(client.get("/runs/run-1/logs").text)
    for name in ("../secret.log", "/etc/passwd", str(path.parent / "secret.log"), "parsl.log/../../secret.log"):
        answer = client.get(f"/runs/run-1/logs?file={quote(name)}")
        assert answer.status == 404
        assert "nobody's business" not in text_of(answer.text)


@pytest.mark.parametrize("name", FIGURES)
def test_plots_are_figures(client, name):
    found = json.loads(client.get(f"/runs/run-1/figures/{name}").text)
    assert found["stale"] == 0.0
    assert found["stamp"]
    assert found["figure"]["data"]
    assert EVIL not in json.dumps(found)


def test_what_a_task_used_is_a_figure(client):
    found = json.loads(client.get("/runs/run-1/tasks/0/figure").text)
    assert [trace["y"] for trace in found["figure"]["data"]] == [[0.5], [100 << 20]]


@pytest.mark.parametrize("page", ["/runs/run-1/tasks/x", "/runs/run-1/figures/none", "/none"])
def test_what_there_is_not_is_said(client, page):
    answer = client.get(page)
    assert answer.status == 404
    assert "Not found" in answer.text


def test_an_unknown_state_is_said(client):
    assert client.get("/runs/run-1/tasks?state=none").status == 400


# -- empty, waiting, broken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_run_of_nothing_has_all_pages(tmp_path, page):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    writer = Writer(url)
    writer.write()
    with serving(url) as client:
        assert client.get(f"/runs/run-1{page}").status == 200
        for name in FIGURES:
            assert client.get(f"/runs/run-1/figures/{name}").status == 200
    writer.close()


def test_without_a_database_the_page_waits_and_makes_none(tmp_path):
    with serving(f"sqlite:///{tmp_path}/none/monitoring.db") as client:
        answer = client.get("/")
        assert answer.status == 503
        assert "Waiting for a run" in answer.text
        assert client.get("/runs/x/figures/states").status == 503
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "monitoring.db").write_bytes(b"no database" * 1000)
    with serving(f"sqlite:///{tmp_path}/monitoring.db") as client:
        answer = client.get("/")
    assert answer.status == 503
    assert "file is not a database" in answer.text


def test_an_archive_that_cannot_be_written_is_shown(tmp_path):
    write(f"sqlite:///{tmp_path}/monitoring.db", began(), completed())
    tmp_path.chmod(0o555)
    try:
        with serving(f"sqlite:///{tmp_path}/monitoring.db") as client:
            assert "census" in client.get("/").text
    finally:
        tmp_path.chmod(0o755)


# -- nobody's texts are more than texts -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, *(f"/tasks/{n}" for n in range(9))])
def test_all_texts_are_escaped(client, page):
    text = client.get(f"/runs/run-1{page}").text
    assert "<script>document" not in text
    assert re.findall(r"<script[^>]*>(.+?)</script>", text) == []
    assert not re.search(r"\son\w+=", re.sub(r">[^<]*<", "><", text))


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_part_of_a_url_reaches_the_database_unbound(client, path, text):
    quoted = quote(text, safe="")
    paths = [f"/runs/{quoted}{page}" for page in PAGES]
    names = ("app", "state", "executor", "after", "order", "task")
    paths += [f"/runs/run-1/tasks?{urlencode({name: text})}" for name in names]
    paths += [
        f"/runs/run-1/tasks/{quoted}", f"/runs/run-1/tasks/{quoted}/figure", f"/runs/run-1/figures/{quoted}",
        f"/runs/{quoted}/figures/states", f"/runs/run-1/logs?file={quoted}", f"/{quoted}", f"/static/{quoted}",
    ]  # fmt: skip
    for one in paths:
        answer = client.get(one)
        assert answer.status in {200, 303, 400, 404}, one
        assert EVIL not in answer.text
        if answer.status == 303:
            assert unquote(answer.headers["Location"]).startswith("/runs/run-1/tasks/")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM parsl_task").fetchone() == (9,)
    connection.close()


def test_either_database_answers_for_all_pages_and_takes_no_text_for_a_statement(url):
    write(url, *a_run(), *(records for records in ran(7, "late")))
    with serving(url) as client:
        for page in PAGES:
            assert client.get(f"/runs/run-1{page}").status == 200, page
        for task in range(8):
            assert client.get(f"/runs/run-1/tasks/{task}").status == 200
            assert client.get(f"/runs/run-1/tasks/{task}/figure").status == 200
        for name in FIGURES:
            assert client.get(f"/runs/run-1/figures/{name}").status == 200, name
        for text in INJECTIONS:
            assert client.get(f"/runs/{quote(text, safe='')}").status == 404
            for name in ("app", "executor", "after"):
                assert client.get(f"/runs/run-1/tasks?{urlencode({name: text})}").status in {200, 400}
        assert "8 tasks" in text_of(client.get("/runs/run-1").text)


def test_a_run_of_an_odd_name_is_a_link_that_leads_nowhere_else(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    write(url, began(workflow_name=EVIL), submitted(0, "a&b=c"), run_id="?#&'\"<x>%2f")
    with serving(url) as client:
        link = html.unescape(re.search(r'<a href="(/runs/[^"]+)"', client.get("/").text)[1])
        page = client.get(link)
    assert page.status == 200
    assert EVIL in text_of(page.text)


# -- news -------------------------------------------------------------------------------------------------------------


def test_events_tell_of_changes(tmp_path):
    import http.client

    url = f"sqlite:///{tmp_path}/monitoring.db"
    writer = Writer(url)
    writer.write(began())
    with serving(url) as client:
        connection = http.client.HTTPConnection(client.base.removeprefix("http://"), timeout=30)
        connection.request("GET", "/events?run=run-1")
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("text/event-stream")

        def following():
            while True:
                line = answer.readline().decode()
                assert line, "the server has ended"
                if line.startswith("data: "):
                    return line

        before = following()
        assert f'data-stamp="{before[6:].strip()}"' in client.get("/runs/run-1").text
        writer.write(submitted(0), *ran(0), failed(0, "E", "m"))
        assert following() != before
        connection.close()
    writer.close()


def test_those_who_watch_do_not_keep_the_server_from_ending(tmp_path):
    import http.client

    url = f"sqlite:///{tmp_path}/monitoring.db"
    write(url, began())
    with serving(url) as client:
        connection = http.client.HTTPConnection(client.base.removeprefix("http://"), timeout=30)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.readline()
    assert b"data: " in answer.read()
    connection.close()


def test_what_may_be_about_to_come_is_waited_for(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    write(url, began(), submitted(0))
    with serving(url) as client:
        soon = client.get("/runs/run-1/tasks/7")
        assert soon.status == 404
        assert "Task 7 is not there yet" in soon.text
        assert 'data-page="coming" data-run="run-1"' in soon.text
        assert 'data-live="yes"' in soon.text
        run = client.get("/runs/run-2/tasks/7")
        assert run.status == 404
        assert 'data-page="coming" data-run="run-2"' in run.text
        write(url, submitted(7, "late"))
        assert client.get("/runs/run-1/tasks/7").status == 200
        # Of a run that has ended, nothing comes any more; and what is no number never does.
        write(url, completed())
        for path in ("/runs/run-1/tasks/8", "/runs/run-1/tasks/x"):
            answer = client.get(path)
            assert answer.status == 404
            assert "There is no" in answer.text
            assert 'data-live=""' in answer.text
