"""The report of a run: what is in it, that it needs nothing else, and that nothing in it is more than text."""

from __future__ import annotations

import html.parser
import shutil
import subprocess

import pytest

pytest.importorskip("jinja2")

from parsl.monitoring.queries.opening import open_run
from parsl.monitoring.report import document
from parsl.monitoring.report.document import NOTHING, colours, configuration, moment, render, seconds, size
from tests.monitoring import finished
from tests.monitoring.databases import hub

TIMES = "\N{MULTIPLICATION SIGN}"


class Page(html.parser.HTMLParser):
    """What is in a page: its tags with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def report(tmp_path):
    queries, run = finished.opened(tmp_path)
    with queries:
        yield render(queries, run)


def test_what_is_in_it(report):
    page = Page(report)
    for words in (
        "tasks 120 ended 120 failed 12",
        "fit 60 48 12",
        f"12 {TIMES} ValueError ValueError('no <script>alert(1)</script> for ",
        "9 <script>alert(1)</script>",
        "node1 8 17.2 GB 4 120",
        "htex 0 (job 4711) RUNNING",
        "Tasks over time",
        "Tasks that ran at once",
        "How long tasks took",
    ):
        assert words in page.text, words
    assert sum(tag == "svg" for tag, _ in page.tags) == 3


def test_it_is_one_small_file_that_needs_nothing(report):
    page = Page(report)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not [attrs for _, attrs in page.tags if {"src", "href"} & attrs.keys()]
    assert "url(" not in report
    assert "@import" not in report
    assert len(report) < 100_000


def test_a_run_without_tasks(tmp_path):
    hub(tmp_path).close()
    queries, run = open_run(tmp_path / "run-1")
    with queries:
        page = Page(render(queries, run))
    assert "tasks 0 ended 0 failed 0" in page.text
    assert "Failures None." in page.text


def test_a_run_that_goes_on(tmp_path):
    made = hub(tmp_path)
    made.send_records(finished.Batch(list(finished._records(12, 1_700_000_000.0))))
    try:
        from tests.live.pilot import wait_for

        def there():
            try:
                queries, run = open_run(tmp_path / "run-1")
            except ValueError:
                return None
            with queries:
                text = render(queries, run)
            return text if "Traceback of 9" in text else None

        assert "the run had not ended when this was written" in wait_for(there)
    finally:
        made.close()


def test_it_looks_like_the_live_page():
    css = colours()
    assert css.count(":root {") == 2
    assert "prefers-color-scheme: dark" in css
    for name in ("page", "card", "line", "ink", "dim", "grid", "sans", "mono", *document._KINDS):
        assert f"--{name}: " in css, name
    assert "body" not in css


# -- the configuration -----------------------------------------------------------------------------------------------


def test_the_configuration_is_told_without_passwords(tmp_path):
    (tmp_path / "parsl.log").write_text(
        "1795635400.84 2026-11-25 19:36:40,845 MainProcess-1 INFO: Run abc in /tmp/x y/000 with Config(\n"
        "    executors=[ThreadPoolExecutor()],\n"
        "    monitoring=MonitoringHub(logging_endpoint='postgresql://me:secret@host/db')\n"
        ")\n"
        "1795635400.90 2026-11-25 19:36:40,900 MainProcess-1 INFO: Starting executor t\n"
    )
    assert configuration(str(tmp_path)) == (
        "Config(\n"
        "    executors=[ThreadPoolExecutor()],\n"
        "    monitoring=MonitoringHub(logging_endpoint='postgresql://me:***@host/db')\n"
        ")"
    )


def test_there_may_be_no_configuration(tmp_path):
    assert configuration(str(tmp_path)) is None
    assert configuration(None) is None
    (tmp_path / "parsl.log").write_text("something else\n")
    assert configuration(str(tmp_path)) is None


def test_the_configuration_of_a_run_is_found_in_its_log(tmp_path):
    from parsl.dataflow.dflow import DataFlowKernel
    from tests.kernels import threads_config

    kernel = DataFlowKernel(threads_config(tmp_path))
    kernel.cleanup()
    text = configuration(kernel.run_dir)
    assert text.startswith("Config(\n")
    assert text.endswith("\n)")
    assert "Starting executor" not in text


# -- words -----------------------------------------------------------------------------------------------------------


def test_words():
    assert [seconds(s) for s in (None, 0.0123, 1.5, 99.94, 7300)] == [NOTHING, "12.3 ms", "1.5 s", "99.9 s", "2.0 h"]
    assert [size(n) for n in (None, 12, 1500, 17.2e9, 2e15)] == [NOTHING, "12 B", "1.5 kB", "17.2 GB", "2e+03 TB"]
    assert moment(None) == NOTHING
    assert moment(0).startswith(("1969-12-31", "1970-01-01"))


# -- a browser -------------------------------------------------------------------------------------------------------


def test_a_browser_shows_it(tmp_path, report):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    (tmp_path / "report.html").write_text(report, encoding="utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path}/profile",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", (tmp_path / "report.html").as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    page = Page(shown)
    assert f"12 {TIMES} ValueError" in page.text
    assert "script" not in {tag for tag, _ in page.tags}
