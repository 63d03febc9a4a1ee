"""The page in a real browser, against a run that goes on."""

from __future__ import annotations

import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.monitoring import MonitoringHub
from tests.browser import browser, find
from tests.live.pilot import htex
from tests.monitoring.visualization.made import EVIL, Writer, a_run, began, ran, serving, submitted, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find() is None, reason="no Chromium is installed: apt-get install chromium"),
]


def wait_for_file(path):
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)
    return path


def follow(given):
    return given


def fail(given):
    raise ValueError(f"{given} did not converge")


def test_a_live_run_is_followed_without_a_reload(tmp_path):
    hub = MonitoringHub(workflow_name="watched", dashboard=0, resource_monitoring_interval=0.2)
    config = Config(executors=[htex()], run_dir=str(tmp_path), strategy="none", monitoring=hub)
    with DataFlowKernel(config) as kernel, browser() as page:
        first = python_app(wait_for_file, data_flow_kernel=kernel)(str(tmp_path / "go on"))
        second = python_app(follow, data_flow_kernel=kernel)(first)
        third = python_app(fail, data_flow_kernel=kernel)("cell 7")

        page.go(hub.dashboard_url)
        page.wait("document.querySelector('#runs a')")
        run = page.run("document.querySelector('#runs a').pathname")
        # Whether the database has the task by now or not: its page is there as soon as it does.
        page.go(f"{hub.dashboard_url.rstrip('/')}{run}/tasks/{second.tid}")
        page.wait("document.querySelector('#task .state')?.textContent === 'pending'")
        page.run("window.stays = 'the same page'")
        page.wait("document.querySelector('#links1')?.textContent.includes('wait_for_file')")
        assert page.run("document.getElementById('pulse').dataset.state") in {"on", "off"}

        (tmp_path / "go on").touch()
        page.wait("document.querySelector('#task .state').textContent === 'done'")
        assert page.run("window.stays") == "the same page"
        second.result()

        assert isinstance(third.exception(), ValueError)
        page.go(f"{hub.dashboard_url.rstrip('/')}{run}/tasks/{third.tid}")
        page.wait("document.querySelector('#failures pre')?.textContent.includes('cell 7 did not converge')")
        assert 'raise ValueError(f"{given} did not converge")' in page.text()

        page.go(f"{hub.dashboard_url.rstrip('/')}{run}/graph")
        page.wait("document.querySelector('.plot').dataset.drawn")
        page.wait("document.querySelectorAll('.plot .points path').length === 3")
        assert page.run("document.querySelectorAll('.plot .lines path').length") >= 1
        assert page.complaints == []
        assert all(url.startswith((hub.dashboard_url, "data:", "blob:")) for url in page.requests)


@pytest.fixture
def client(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    write(url, *a_run())
    with serving(url) as made:
        yield made


DRAWN = (
    "[...document.querySelectorAll('.plot')].every(p => p.dataset.drawn || p.textContent.includes('Nothing to draw')"
    " || p.getBoundingClientRect().top > innerHeight + 200)"
)


@pytest.mark.parametrize("look", [{}, {"dark": True}, {"phone": True, "width": 390, "height": 844}])
def test_pages_fit_and_run_no_script_of_others(client, look):
    with browser() as page:
        page.look(**look)
        for part in ("", "/tasks", "/tasks/2", "/failures", "/timeline", "/graph", "/resources", "/nodes", "/logs"):
            page.go(f"{client.base}/runs/run-1{part}")
            page.wait(DRAWN)
            assert page.run("document.title") != "owned", part
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), part
            colour = page.run("getComputedStyle(document.body).backgroundColor")
            assert colour == ("rgb(18, 21, 26)" if look.get("dark") else "rgb(246, 247, 249)")
        assert page.complaints == []
        assert all(url.startswith((client.base, "data:", "blob:")) for url in page.requests)


def test_a_click_in_a_plot_leads_to_the_task(client):
    with browser() as page:
        page.go(f"{client.base}/runs/run-1/graph")
        page.wait("document.querySelector('.plot').dataset.listens")
        page.run(
            "document.querySelector('.plot').emit('plotly_click', {points: [{customdata: '/runs/run-1/tasks/2'}]})"
        )
        page.wait("document.documentElement.dataset.page === 'task'")
        assert EVIL in page.text()


def test_what_somebody_has_opened_stays_open(client, tmp_path):
    with browser() as page:
        page.go(f"{client.base}/runs/run-1")
        page.wait("document.querySelector('#causes details')")
        page.run("document.querySelector('#causes details').open = true")
        page.wait("document.getElementById('pulse').dataset.state === 'on'")
        write(f"sqlite:///{tmp_path}/monitoring.db", *a_run(), run_id="other")
        write(f"sqlite:///{tmp_path}/monitoring.db", submitted(50, "newcomer"), *ran(50, "newcomer"))
        page.wait("document.getElementById('apps').textContent.includes('newcomer')")
        assert page.run("document.querySelector('#causes details').open")


def test_the_waiting_page_becomes_the_list_of_runs(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    with serving(url) as client, browser() as page:
        page.go(client.base)
        assert "Waiting for a run" in page.text()
        write(url, *a_run())
        page.wait("document.querySelector('#runs a')?.textContent === 'census'")


def test_the_page_of_a_task_that_is_about_to_come_becomes_its_page(tmp_path):
    url = f"sqlite:///{tmp_path}/monitoring.db"
    writer = Writer(url)
    writer.write(began())
    with serving(url) as client, browser() as page:
        page.go(f"{client.base}/runs/run-1/tasks/7")
        assert "Task 7 is not there yet" in page.text()
        page.wait("document.getElementById('pulse').dataset.state === 'on'")
        # Others come first: the page goes on waiting.
        stamp = page.run("document.documentElement.dataset.stamp")
        writer.write(submitted(6))
        page.wait(f"document.documentElement.dataset.stamp !== '{stamp}'")
        assert page.run("document.querySelectorAll('#coming').length") == 1
        writer.write(submitted(7, "late"))
        page.wait("document.querySelector('#task .name')?.textContent === 'late'")
        assert "not there yet" not in page.text()
        # The browser notes that the page was not found at first.
        assert all("404" in complaint for complaint in page.complaints)
    writer.close()


def test_the_page_of_a_run_that_is_about_to_come_becomes_its_page(client, tmp_path):
    with browser() as page:
        page.go(f"{client.base}/runs/run-2")
        assert "No such run yet" in page.text()
        page.wait("document.getElementById('pulse').dataset.state === 'on'")
        write(f"sqlite:///{tmp_path}/monitoring.db", began(workflow_name="tomorrow's"), run_id="run-2")
        page.wait("document.querySelector('#head h1')?.textContent.includes(`tomorrow's`)")
