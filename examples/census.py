"""A census of the Python standard library, as a workflow: what is in it, and which parts of it explain themselves?

    python examples/census.py             with worker processes on all cores
    python examples/census.py --threads   with threads of this process
    python examples/census.py --resume    go on where an earlier run was stopped
    python examples/census.py --help      other folders, fewer packages, more workers

The workflow, for each package from the outermost inwards:

    survey ──┬── count      a bash app: lines and bytes of the package's modules, into a file
    (a join  ├── compress   a bash app: the modules as one compressed file
    app)     ├── measure    a Python app, once for each module: its syntax tree and its comments
             ├── describe   a Python app that needs all of these
             └── survey     itself, for each package within

and in the end `tabulate` and `draw` make a table and a picture of all that. What the figures mean, and how they are
drawn, is in `census_report.py`: plain functions that know nothing of workflows.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import platform
import shlex
import shutil
import sys
import sysconfig
import time
import tokenize
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any, TextIO, TypeVar

from census_report import Module, Package, overview, picture, write_csv

import parsl
from parsl import AUTO_LOGNAME, Config, File, HighThroughputExecutor, ThreadPoolExecutor
from parsl.dataflow.memoization import BasicMemoizer
from parsl.dataflow.states import States

NOT_OF_THE_LIBRARY = {"__pycache__", "site-packages", "dist-packages"}
MODULES_PER_COMMAND = 200  # a command line has an end
Later = Any  # a parameter that is given a future, and is its value where the app runs
FutureT = TypeVar("FutureT", bound="Future[Any]")


@parsl.bash_app(cache=True)
def count(inputs: Sequence[File] = (), outputs: Sequence[File] = (), stderr: int = AUTO_LOGNAME) -> str:
    """Write the number of lines and bytes of some files to a file."""
    return f"wc -lc {shlex.join(map(str, inputs))} /dev/null | tail -n 1 > {shlex.quote(str(outputs[0]))}"


@parsl.bash_app(cache=True)
def compress(inputs: Sequence[File] = (), outputs: Sequence[File] = (), stderr: int = AUTO_LOGNAME) -> str:
    """Compress some files into one."""
    return f"cat {shlex.join(map(str, inputs))} | gzip > {shlex.quote(str(outputs[0]))}"


@parsl.python_app(cache=True)
def measure(name: str, source: File) -> Module:
    """Parse a module and measure what is in it; if it cannot be parsed, that is a result too."""
    begin = time.thread_time()
    found = Module(name=name)
    for category in (SyntaxWarning, DeprecationWarning):
        warnings.simplefilter("ignore", category)  # the code is not ours to mend
    try:
        with open(source, "rb") as file:
            code = file.read()
        found.lines = code.count(b"\n")
        tree = ast.parse(code, source.filename)
        tokens = tokenize.tokenize(io.BytesIO(code).readline)
        found.comments = sum(token.type == tokenize.COMMENT for token in tokens)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        found.failure = printable(f"{type(error).__name__}: {error}")
    else:
        measure_tree(tree, found)
    found.seconds = time.thread_time() - begin
    return found


def measure_tree(tree: ast.Module, found: Module) -> None:
    """Count what a syntax tree defines, documents and imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                found.imports.add(node.module.partition(".")[0])
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                found.documented += 1
                found.docstring_lines += span(node.body[0])
            if isinstance(node, ast.ClassDef):
                found.classes += 1
            elif not isinstance(node, ast.Module):
                found.functions += 1
                found.longest = max(found.longest, (span(node), f"{found.name}.{node.name}"))


def span(node: ast.stmt) -> int:
    """Return the number of lines from the first to the last of a statement."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


@parsl.python_app(cache=True)
def describe(path: str, counts: Later, packed: Later, inputs: Sequence[Later] = ()) -> list[Package]:
    """Put together what the other apps found out about a package."""
    with open(counts) as file:
        lines, size = map(int, file.read().split()[:2])
    return [Package(path, lines=lines, bytes=size, packed_bytes=os.stat(packed).st_size, modules=list(inputs))]


@parsl.python_app
def collect(inputs: Sequence[Later] = ()) -> list[Package]:
    """Make one list of several."""
    return [package for packages in inputs for package in packages]


@parsl.join_app
def survey(folder: str, path: str, results: str, progress: Progress, limit: int | None) -> Future[list[Package]]:
    """Have the package in a folder described, and all packages within it, of which `limit` bounds the number."""
    modules, folders = look(folder)
    parts: list[Future[list[Package]]] = []
    for begin in range(0, len(modules), MODULES_PER_COMMAND):
        names = modules[begin : begin + MODULES_PER_COMMAND]
        sources = [File(os.path.join(folder, name)) for name in names]
        stem = os.path.join(results, "packages", path, f"modules-{begin}")
        os.makedirs(os.path.dirname(stem), exist_ok=True)
        counted = progress.watch("count", count(inputs=sources, outputs=[File(f"{stem}.counts")]))
        packed = progress.watch("compress", compress(inputs=sources, outputs=[File(f"{stem}.gz")]))
        measured = [
            progress.watch("measure", measure(printable(os.path.join(path, name[:-3]).replace(os.sep, ".")), source))
            for name, source in zip(names, sources, strict=True)
        ]
        described = describe(printable(path), counted.outputs[0], packed.outputs[0], inputs=measured)
        parts.append(progress.watch("describe", described))
    for name in folders[:limit]:
        inner = survey(os.path.join(folder, name), os.path.join(path, name), results, progress, limit=None)
        parts.append(progress.watch("survey", inner))
    return collect(inputs=parts)


@parsl.python_app
def tabulate(title: str, packages: Later, outputs: Sequence[File] = ()) -> str:
    """Write the table, as text to read and as CSV to compute with; return the overview of it."""
    with open(outputs[0], "w", encoding="utf-8") as text:
        text.write(overview(title, packages))
    with open(outputs[1], "w", encoding="utf-8", newline="") as table:
        write_csv(packages, table)
    return overview(title, packages, rows=12)


@parsl.python_app
def draw(title: str, packages: Later, outputs: Sequence[File] = ()) -> None:
    """Draw the picture."""
    with open(outputs[0], "w", encoding="utf-8") as image:
        image.write(picture(title, packages))


def look(folder: str) -> tuple[list[str], list[str]]:
    """Return the names of the modules and of the folders in a folder."""
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    modules = [entry.name for entry in found if entry.name.endswith(".py") and entry.is_file()]
    folders = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
    return modules, [name for name in folders if name not in NOT_OF_THE_LIBRARY]


def printable(text: str) -> str:
    """Return a text that can be printed and put into any of the results, whatever the name of a file holds."""
    return text if text.isprintable() else ascii(text)[1:-1]


class Progress:
    """Shows how many tasks of each kind have ended: bars that stay in place on a terminal, else now and then a line.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.full, self.empty = "\u2588\u2591" if "utf" in (stream.encoding or "").lower() else "#."
        self.drawn = False
        self.began = time.perf_counter()
        kinds = ("count", "compress", "measure", "describe", "survey", "report")
        self.futures: dict[str, list[Future[Any]]] = {kind: [] for kind in kinds}

    def watch(self, kind: str, future: FutureT) -> FutureT:
        """Count a future among those of its kind, and return it; from any thread."""
        self.futures[kind].append(future)
        return future

    def seconds(self) -> float:
        """Return how long it has been."""
        return time.perf_counter() - self.began

    def wait(self, *futures: Future[Any]) -> None:
        """Wait for futures, and show meanwhile how all that are watched come along."""
        while wait(futures, timeout=0.1 if self.live else 2).not_done:
            self.show()
        self.show()

    def show(self) -> None:
        """Show how many tasks have ended by now."""
        counts = {kind: (sum(f.done() for f in futures), len(futures)) for kind, futures in self.futures.items()}
        if self.live:
            if self.drawn:
                self.stream.write(f"\x1b[{len(counts)}A")  # up again, to where the bars begin
            self.drawn = True
            width = max(8, min(50, shutil.get_terminal_size().columns - 30))
            for kind, (ended, known) in counts.items():
                full = width * ended // max(known, 1)
                bar = self.full * full + self.empty * (width - full)
                self.stream.write(f"  {kind:9} {bar} {ended:5,} of {known:,}\x1b[K\n")
        else:
            text = ", ".join(f"{kind} {ended}/{known}" for kind, (ended, known) in counts.items())
            self.stream.write(f"{self.seconds():5.1f} s  {text}\n")
        self.stream.flush()


def configuration(options: argparse.Namespace) -> Config:
    """Say what the tasks run on."""
    executor: HighThroughputExecutor | ThreadPoolExecutor
    if options.threads:
        executor = ThreadPoolExecutor(max_threads=options.workers)
    else:
        # So small a part of a core, that it is `workers` which decides how many there are.
        executor = HighThroughputExecutor(max_workers_per_node=options.workers, cores_per_worker=0.01)
    # Each result is on disk before it is told of, so that nothing is lost however a run ends. An edited app runs again.
    earlier = None if options.resume else []
    memoizer = BasicMemoizer(checkpoint_files=earlier, checkpoint_mode="task_exit", key="code")
    return Config(executors=[executor], run_dir=os.path.join(options.out, "runinfo"), memoizer=memoizer)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    library = sysconfig.get_path("stdlib")
    parser = argparse.ArgumentParser(description="A census of the Python standard library, as a workflow.")
    parser.add_argument("--threads", action="store_true", help="run in threads of this process, not in workers")
    parser.add_argument("--resume", action="store_true", help="take what earlier runs have found out from --out")
    parser.add_argument("--workers", type=int, default=cores, metavar="N", help=f"how many; {cores} by default")
    parser.add_argument("--packages", type=int, metavar="N", help="only the first N packages, for a quick run")
    parser.add_argument("--folder", default=library, help=f"what to take a census of; {library} by default")
    parser.add_argument("--out", default="census", metavar="FOLDER", help="where results go; ./census by default")
    options = parser.parse_args(arguments)
    for name in ("workers", "packages"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if not os.path.isdir(options.folder):
        parser.error(f"{options.folder} is not a folder")
    options.folder, options.out = os.path.abspath(options.folder), os.path.abspath(options.out)
    try:
        os.makedirs(options.out, exist_ok=True)
    except OSError as error:
        parser.error(f"--out cannot be used: {error}")
    return options


def summary(options: argparse.Namespace, kernel: parsl.DataFlowKernel, seconds: float, parsing: float) -> str:
    """Say how long it took and where the results are."""
    where = f"{options.workers} {'threads' if options.threads else 'worker processes'}"
    results = {
        "table": "census.txt",
        "the same as data": "census.csv",
        "picture": "census.svg",
        "compressed modules": "packages",
    }
    known = kernel.task_state_counts[States.memo_done]
    lines = [
        f"{kernel.task_count:,} tasks on {where} in {seconds:.1f} s; parsing alone took {parsing:.1f} s of CPU time."
    ]
    if options.resume:
        lines.append(f"The results of {known:,} of them were there from earlier runs.")
    lines.append("")
    lines += [f"{what:19} {os.path.relpath(os.path.join(options.out, name))}" for what, name in results.items()]
    log = os.path.join(kernel.run_dir, "parsl.log")
    return "\n".join([*lines, f"{'log':19} {os.path.relpath(log)}"])


def main() -> None:
    """Run the workflow and tell what came of it."""
    options = parse_arguments()
    title = f"The standard library of Python {platform.python_version()}"
    if options.folder != os.path.abspath(sysconfig.get_path("stdlib")):
        title = printable(f"The Python modules in {options.folder}")
    text, table, image = (File(os.path.join(options.out, f"census.{suffix}")) for suffix in ("txt", "csv", "svg"))
    progress = Progress(sys.stderr)
    try:
        with parsl.load(configuration(options)) as kernel:
            packages = progress.watch("survey", survey(options.folder, "", options.out, progress, options.packages))
            tabulated = progress.watch("report", tabulate(title, packages, outputs=[text, table]))
            drawn = progress.watch("report", draw(title, packages, outputs=[image]))
            progress.wait(tabulated, drawn)
            drawn.result()
            print(f"\n{tabulated.result()}")
            parsing = sum(module.seconds for package in packages.result() for module in package.modules)
            print(summary(options, kernel, progress.seconds(), parsing))
    except KeyboardInterrupt:
        text = f"Interrupted; what there is so far is in {options.out}, and --resume goes on from there"
        print(f"\n{text}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
