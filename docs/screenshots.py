"""Make the pictures of the live page for the documentation, from real runs: `python docs/screenshots.py`.

Runs `examples/census.py` with monitoring, and a small workflow in which some tasks fail; serves the page over their
database as `parsl-visualize` does, and takes the pictures with a headless Chromium into `docs/images`.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IMAGES = os.path.join(ROOT, "docs", "images")
sys.path[:0] = [ROOT, os.path.join(ROOT, "examples")]

import parsl  # noqa: E402 - see the path above
from parsl import Config, HighThroughputExecutor, MonitoringHub, bash_app, python_app  # noqa: E402
from tests.browser import Page, browser  # noqa: E402

_DRAWN = (
    "[...document.querySelectorAll('.plot')].every(p => p.dataset.drawn || p.textContent.includes('Nothing to draw')"
    " || p.getBoundingClientRect().top > innerHeight + 200)"
)
_LINKS = "Object.fromEntries([...document.querySelectorAll('#runs a')].map(a => [a.textContent, a.pathname]))"


@python_app
def simulate(cell: int) -> float:
    """Take a moment; some cells do not converge."""
    import random
    import time

    chance = random.Random(cell)  # noqa: S311 - the same pictures each time
    time.sleep(0.1 + chance.random())
    if cell % 11 == 4:
        raise ArithmeticError(f"cell {cell} did not converge after {cell * 10} steps")
    return chance.random()


@python_app
def summarize(parts: list[float]) -> float:
    """Add up."""
    import time

    time.sleep(0.4)
    return sum(parts)


@bash_app
def archive(total: float, stdout: int = parsl.AUTO_LOGNAME, stderr: int = parsl.AUTO_LOGNAME) -> str:
    """Keep the result."""
    return f"sleep 0.2; echo total {total}"


def run_census(folder: str) -> None:
    """Run the example as it is, with monitoring put into its configuration."""
    real = parsl.load

    def load(config: Config) -> parsl.DataFlowKernel:
        config.run_dir = folder
        config.monitoring = MonitoringHub(workflow_name="census", resource_monitoring_interval=0.5)
        return real(config)

    parsl.load = load
    sys.argv = ["census.py", "--packages", "12", "--out", os.path.join(folder, "census")]
    try:
        runpy.run_path(os.path.join(ROOT, "examples", "census.py"), run_name="__main__")
    finally:
        parsl.load = real


def run_cells(folder: str) -> None:
    """Run a workflow of which some tasks fail."""
    hub = MonitoringHub(workflow_name="cells", resource_monitoring_interval=0.5)
    config = Config(executors=[HighThroughputExecutor(label="htex")], run_dir=folder, monitoring=hub)
    with parsl.load(config):
        parts = [[simulate(6 * group + cell) for cell in range(6)] for group in range(8)]
        futures = [archive(summarize(some)) for some in parts]
        for future in futures:
            future.exception()


def take(page: Page, base: str, name: str, path: str, *, phone: bool = False, dark: bool = False) -> None:
    """Take a picture of a page."""
    if phone:
        page.look(phone=True, width=390, height=844, dark=dark)
    else:
        page.look(width=1200, height=800, dark=dark)
    page.go(base + path)
    page.wait(_DRAWN)
    with open(os.path.join(IMAGES, f"{name}.png"), "wb") as file:
        file.write(page.picture(whole=not phone, most=1400))
    print(f"docs/images/{name}.png")


def main() -> None:
    """Make all pictures."""
    os.makedirs(IMAGES, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run_census(folder)
        run_cells(folder)
        database = os.path.join(folder, "monitoring.db")
        command = [sys.executable, "-m", "parsl.monitoring.visualization.app", database, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, browser() as page:
            try:
                assert server.stdout is not None
                base = next(word for word in server.stdout.readline().split() if word.startswith("http")).rstrip("/")
                page.go(base)
                runs = page.run(_LINKS)
                census, cells = runs["census"], runs["cells"]
                take(page, base, "page-overview", census)
                take(page, base, "page-phone", cells, phone=True)
                take(page, base, "page-graph", f"{cells}/graph")
                take(page, base, "page-graph-apps", f"{census}/graph")
                take(page, base, "page-timeline", f"{census}/timeline")
                take(page, base, "page-failures", f"{cells}/failures")
                take(page, base, "page-resources-dark", f"{census}/resources", dark=True)
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
