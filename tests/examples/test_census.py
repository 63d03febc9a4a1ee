"""The census finds what a count by other means finds, on workers and on threads, and behaves on a terminal."""

from __future__ import annotations

import ast
import csv
import gzip
import importlib.util
import io
import itertools
import math
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.dataflow.checkpoints import open_checkpoints

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "examples" / "census.py"
STDLIB = Path(sysconfig.get_path("stdlib"))
NOT_MODULES = {"__pycache__", "site-packages", "dist-packages"}

# What a folder may hold besides good modules, and whether Python parses it.
ODD = {
    "syntax.py": (b"def broken(:\n    pass\n", False),
    "python2.py": (b"print 'hello'\n", False),
    "indent.py": (b"if 1:\n    a = 1\n  b = 2\n", False),
    "nul.py": (b"a = 1\0\n", False),
    "unknown_coding.py": (b"# coding: no-such-coding\na = 1\n", False),
    "not_utf8.py": (b"a = '\xe9'\n", False),
    "deep.py": (b"a = " + b"(" * 3000 + b")" * 3000 + b"\n", False),
    "unclosed.py": (b"a = '''no end\n", False),
    "latin1.py": (b"# coding: latin-1\na = '\xe9'  # \xe9\n", True),
    "bom.py": (b"\xef\xbb\xbfa = 1  # after a mark\n", True),
    "empty.py": (b"", True),
    "no_newline.py": (b"def f(): 'said'  # no newline at the end", True),
    "crlf.py": (b'"""Two\r\nlines."""\r\n# one comment\r\n', True),
    "hashes.py": (b"a = '# no comment'  # a comment\nb = '''\n# no comment\n'''\n", True),
    "nested.py": (b"class A:\n 'doc'\n async def f(self):\n  def g(): ...\n  return g\n", True),
    "imports.py": (b"import os.path as p, sys; from json import load\nfrom . import syntax\nimport os\n", True),
    "warns.py": (b"a = '\\d'\nassert (1, 'always')\nb = 1 is 1\n", True),
    "it's a $(name) & more.py": (b"import sys\n", True),
    "-n.py": (b"# an option?\n", True),
    "na\u00efve.py": ("def na\u00efve(): ...\n".encode(), True),
}
IGNORED = ["notes.txt", ".hidden.py", "__pycache__/cached.py", "site-packages/other.py", "folder.py/data.bin"]
MANY = 450  # more than go into one command


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A folder of a few packages of the standard library, and of all that is odd."""
    folder = tmp_path_factory.mktemp("lib rary")
    for name in ("json", "email", "concurrent", "html"):
        shutil.copytree(STDLIB / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    odd = folder / "odd" / "within"
    odd.mkdir(parents=True)
    for name, (content, _) in ODD.items():
        (odd / name).write_bytes(content)
    (odd / os.fsdecode(b"caf\xe9\x01.py")).write_bytes(b"a = 1\n")
    for name in IGNORED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a = 1\n")
    (folder / "gone.py").symlink_to("nowhere.py")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "alone.py").write_text('"""Alone."""\nimport sys\n')
    (folder / "many").mkdir()
    for i in range(MANY):
        (folder / "many" / f"module_{i:03}_{'x' * 150}.py").write_text(f"# {i}\nimport os\n" * i)
    return folder


def run_census(folder: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, "--folder", folder, "--out", out, "--workers", "2", *options]
    return subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=200, check=False)


# -- the same count by other means: one loop, regular expressions and tokens ------------------------------------------

# A string of any kind, or a comment: whichever begins first ends the other's chances.
STRING_OR_COMMENT = re.compile(
    rb"'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|(#)[^\n]*",
    re.DOTALL,
)


def count_comments(file: str, code: bytes) -> int:
    if file == "test_fstring.py":  # it has strings within strings, too much for a regular expression
        return sum(t.type == tokenize.COMMENT for t in tokenize.tokenize(io.BytesIO(code).readline))
    return sum(match[1] is not None for match in STRING_OR_COMMENT.finditer(code))


def count_definitions(scope: ast.AST, name: str, found: Counter[str], longest: list[tuple[int, str]]) -> None:
    """Count what a scope defines, by recursion, and how long its functions are."""
    if isinstance(scope, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        found["definitions"] += 1
        match scope.body:
            case [ast.Expr(value=ast.Constant(value=str())), *_]:
                found["documented"] += 1
                found["docstring_lines"] += scope.body[0].end_lineno - scope.body[0].lineno + 1
    if isinstance(scope, ast.ClassDef):
        found["classes"] += 1
    elif isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        found["functions"] += 1
        longest.append((scope.end_lineno - scope.lineno + 1, f"{name}.{scope.name}"))
    for child in ast.iter_child_nodes(scope):
        count_definitions(child, name, found, longest)


def imported(code: bytes) -> set[str]:
    """Find the outermost packages that a module imports, in its text without strings and comments."""
    bare = STRING_OR_COMMENT.sub(b"''", code).replace(b"\\\n", b" ").decode("latin-1")
    names = set(re.findall(r"(?:^|[;:])[ \t]*from[ \t]+(\w+)[\w. \t]*[ \t]import\b", bare, re.MULTILINE))
    for statement in re.findall(r"(?:^|[;:])[ \t]*import[ \t]+([\w., \t]+)", bare, re.MULTILINE):
        names.update(part.split(".")[0].split()[0] for part in statement.split(","))
    return names


class Count:
    """A sequential count of a folder: figures by package, and for all what is imported and cannot be parsed."""

    def __init__(self, root: Path) -> None:
        self.packages: dict[Path, Counter[str]] = {}
        self.longest: dict[Path, list[tuple[int, str]]] = {}
        self.code: dict[Path, list[bytes]] = {}
        self.imports: Counter[str] = Counter()
        self.failures: list[str] = []
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f not in NOT_MODULES and not f.startswith("."))
            for file in sorted(files):
                if file.endswith(".py") and not file.startswith(".") and Path(folder, file).exists():
                    self.add(Path(folder).relative_to(root), file, Path(folder, file).read_bytes())

    def add(self, package: Path, file: str, code: bytes) -> None:
        found = self.packages.setdefault(package, Counter())
        self.code.setdefault(package, []).append(code)
        found.update(modules=1, bytes=len(code), lines=len(code.split(b"\n")) - 1)
        name = ".".join([*package.parts, file.removesuffix(".py")])
        name = name if name.isprintable() else ascii(name)[1:-1]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the modules' own
                tree = ast.parse(code)
        except (SyntaxError, ValueError):
            found["failures"] += 1
            self.failures.append(name)
            return
        found["comments"] += count_comments(file, code)
        count_definitions(tree, name, found, self.longest.setdefault(package, []))
        self.imports.update(imported(code))


FIGURES = ("modules", "failures", "lines", "bytes", "comments", "docstring_lines", "functions", "classes", "documented")


def check(out: Path, count: Count) -> None:
    """Compare what a census has written with a count."""
    with open(out / "census.csv", encoding="utf-8", newline="") as table:
        rows = {row["package"]: row for row in csv.DictReader(table)}
    assert rows.keys() == {".".join(package.parts) for package in count.packages}
    for package, found in count.packages.items():
        row = rows[".".join(package.parts)]
        for name in (*FIGURES, "definitions"):
            assert int(row[name]) == found[name], (package, name)
        longest = max(count.longest.get(package, []), default=(0, ""))
        assert (int(row["longest_lines"]), row["longest_function"]) == longest
        archives = sorted((out / "packages" / package).glob("modules-*.gz"), key=lambda a: int(a.stem.split("-")[1]))
        assert b"".join(gzip.decompress(a.read_bytes()) for a in archives) == b"".join(count.code[package])
        assert int(row["packed_bytes"]) == sum(archive.stat().st_size for archive in archives)
    check_text((out / "census.txt").read_text(encoding="utf-8"), count)
    check_picture((out / "census.svg").read_text(encoding="utf-8"), count)


def check_text(text: str, count: Count) -> None:
    total = sum(count.packages.values(), Counter())
    line = next(line for line in text.splitlines() if line.startswith("all "))
    expected = [total[name] for name in ("modules", "lines", "comments", "functions", "classes")]
    assert [int(word.replace(",", "")) for word in line.split()[1:-1]] == expected
    assert line.split()[-1] == f"{total['documented'] / total['definitions']:.0%}"
    imports = text.partition("Imported by most modules\n")[2].partition("\n\n")[0].splitlines()
    shown = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in imports}
    assert shown == {name: count.imports[name] for name in shown}
    assert list(shown.values()) == [n for _, n in count.imports.most_common(50)]
    failures = text.partition("Could not be parsed: ")[2].splitlines()
    assert failures[0] == f"{total['failures']:,} of {total['modules']:,} modules"
    assert sorted(re.match(r"  (.+?): \w+", line)[1] for line in failures[1:]) == sorted(count.failures)


def check_picture(text: str, count: Count) -> None:
    boxes = [e for e in ElementTree.fromstring(text).iter() if e.get("class") == "module"]
    lines = sorted(len(code.split(b"\n")) - 1 for codes in count.code.values() for code in codes)
    assert sorted(int(re.search(r": ([\d,]+) lines, ", box[0].text)[1].replace(",", "")) for box in boxes) == [
        n for n in lines if n
    ]


# -- the tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--threads"]], ids=["workers", "threads"])
def test_agrees_with_a_sequential_count(library, tmp_path, options):
    out = tmp_path / "the results"
    run = run_census(library, out, *options)
    assert run.returncode == 0, run.stderr
    count = Count(library)
    assert sorted(name.rpartition(".")[2] + ".py" for name in count.failures) == sorted(
        name for name, (_, good) in ODD.items() if not good
    )
    check(out, count)
    where = "threads" if options else "worker processes"
    assert re.search(rf"^[\d,]+ tasks on 2 {where} in [\d.]+ s; ", run.stdout, re.MULTILINE)
    assert run.stdout.count("\n  odd.within.") == 5, "the first failures and their reasons"
    for name in ("census.txt", "census.csv", "census.svg", "runinfo/000/parsl.log"):
        assert f"the results/{name}" in run.stdout
        assert (out / name).is_file()
    last = run.stderr.splitlines()[-1]
    ended = dict(re.findall(r"(\w+) (\d+)/\2\b", last))
    assert ended.keys() == {"count", "compress", "measure", "describe", "survey", "report"}
    assert int(ended["measure"]) == sum(found["modules"] for found in count.packages.values())


@pytest.mark.slow
def test_agrees_with_a_sequential_count_of_the_standard_library(tmp_path):
    run = run_census(STDLIB, tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("\nThe standard library of Python ")
    count = Count(STDLIB)
    assert sum(found["modules"] for found in count.packages.values()) > 500
    check(tmp_path / "out", count)


def test_takes_so_many_packages(library, tmp_path):
    run = run_census(library, tmp_path / "out", "--packages", "2", "--threads")
    assert run.returncode == 0, run.stderr
    with open(tmp_path / "out" / "census.csv", encoding="utf-8", newline="") as table:
        packages = {row["package"] for row in csv.DictReader(table)}
    # By name, the first two are concurrent and email; modules outside of packages always count.
    assert packages == {"", "concurrent", "concurrent.futures", "email", "email.mime"}


def test_an_empty_folder_has_results_too(tmp_path):
    (tmp_path / "empty").mkdir()
    run = run_census(tmp_path / "empty", tmp_path / "out", "--threads")
    assert (run.returncode, "Could not be parsed: 0 of 0 modules" in run.stdout) == (0, True), run.stderr
    ElementTree.parse(tmp_path / "out" / "census.svg")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers", "0"], "--workers must be at least 1"),
        (["--packages", "0"], "--packages must be at least 1"),
        (["--workers", "two"], "invalid int value"),
        (["--folder", "/dev/null"], "/dev/null is not a folder"),
        (["--out", "/dev/null/out"], "--out cannot be used: "),
    ],
)
def test_wrong_options_are_told(options, says, tmp_path):
    run = run_census(tmp_path, tmp_path / "out", *options)
    assert run.returncode == 2
    assert says in run.stderr.splitlines()[-1]


class Terminal:
    """A census of the standard library with standard error on a terminal, and what it has written there."""

    def __init__(self, *options: str | Path, folder: Path) -> None:
        self.master, slave = pty.openpty()
        self.text = ""
        command = [sys.executable, SCRIPT, *options]
        # In a session of its own, so that a signal to its process group is a ctrl-C that reaches nobody else.
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=slave, text=True, start_new_session=True
        )
        os.close(slave)

    def read_until(self, pattern: str) -> None:
        """Read until a pattern has been written, or all has."""
        while not re.search(pattern, self.text):
            try:
                self.text += os.read(self.master, 4096).decode()
            except OSError:  # the other end is closed
                break

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        os.close(self.master)


def test_bars_on_a_terminal_stay_in_place_and_fill(library, tmp_path):
    with Terminal("--folder", library, "--out", "out", "--threads", folder=tmp_path) as terminal:
        terminal.read_until("(?!)")
        output, _ = terminal.process.communicate(timeout=60)
    assert terminal.process.returncode == 0
    assert output.startswith("\nThe Python modules in ")
    screens = terminal.text.split("\x1b[6A")
    assert len(screens) > 1
    for screen in screens:
        rows = [
            re.fullmatch(r"  (\w+) +([\u2588\u2591]+) +([\d,]+) of ([\d,]+)\x1b\[K", row)
            for row in screen.split("\r\n")[:-1]
        ]
        assert [row[1] for row in rows] == ["count", "compress", "measure", "describe", "survey", "report"]
    assert all(row[3] == row[4] and "\u2591" not in row[2] for row in rows)


@pytest.mark.parametrize("options", [[], ["--threads"]], ids=["workers", "threads"])
def test_ctrl_c_ends_it_cleanly(tmp_path, options):
    with Terminal(*options, folder=tmp_path) as terminal:
        terminal.read_until(r"measure [^\n]* [1-9][\d,]* of")
        os.killpg(terminal.process.pid, signal.SIGINT)
        terminal.read_until("(?!)")
        output, _ = terminal.process.communicate(timeout=30)
    assert (terminal.process.returncode, output) == (130, "")
    assert (
        terminal.text.rpartition("\x1b[K\r\n")[2]
        .strip()
        .endswith(f"Interrupted; what there is so far is in {tmp_path}/census, and --resume goes on from there")
    )
    assert "Traceback" not in terminal.text
    assert "Cleaned up run" in (tmp_path / "census/runinfo/000/parsl.log").read_text()


def states(run: Path) -> dict[str, int]:
    """Read from the log of a run how many tasks ended in which state."""
    log = (run / "parsl.log").read_text(encoding="utf-8")
    return {state: int(count) for state, count in re.findall(r"Tasks in state States\.(\w+): (\d+)", log)}


def test_a_killed_census_goes_on_where_it_was(library, tmp_path):
    with Terminal("--folder", library, "--workers", "2", "--out", "out", folder=tmp_path) as terminal:
        terminal.read_until(r"measure [^\n]* [1-9][\d,]* of")
        terminal.process.kill()
        terminal.read_until("(?!)")
    runs = tmp_path / "out" / "runinfo"
    assert "Summary of tasks" not in (runs / "000/parsl.log").read_text(), "it was killed before its end"
    known = open_checkpoints([runs / "000/checkpoint"])
    saved = len(known)
    known.close()
    assert saved >= 1

    resumed = run_census(library, tmp_path / "out", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    check(tmp_path / "out", Count(library))
    assert f"The results of {saved:,} of them were there from earlier runs" in resumed.stdout
    again = run_census(library, tmp_path / "out", "--resume")
    assert again.returncode == 0, again.stderr
    check(tmp_path / "out", Count(library))
    second, third = states(runs / "001"), states(runs / "002")
    assert second["memo_done"] == saved
    assert second["exec_done"] + saved == third["exec_done"] + third["memo_done"], "each ran once in all"
    assert third["memo_done"] > saved
    fresh = run_census(library, tmp_path / "out")
    assert fresh.returncode == 0, fresh.stderr
    assert "memo_done" not in states(runs / "003"), "without --resume all is computed anew"


@pytest.fixture(scope="module")
def report():
    """The module that makes table and picture."""
    spec = importlib.util.spec_from_file_location("census_report", SCRIPT.with_name("census_report.py"))
    module = sys.modules["census_report"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["census_report"]


@given(st.lists(st.integers(1, 10_000), max_size=60))
def test_treemap_cuts_all_of_the_box_in_proportion(report, sizes):
    width, height = 900.0, 600.0
    boxes = report.treemap(sizes, (10.0, 20.0, width, height))
    assert len(boxes) == len(sizes)
    for size, (x, y, w, h) in zip(sizes, boxes, strict=True):
        assert math.isclose(w * h, width * height * size / sum(sizes), rel_tol=1e-6)
        assert 10 - 1e-6 <= x <= x + w <= 10 + width + 1e-6
        assert 20 - 1e-6 <= y <= y + h <= 20 + height + 1e-6
    # Inside the box, of the right areas in all, so none overlap unless some of the box is left: sweep along x.
    edges = sorted({x for x, _, w, _ in boxes} | {x + w for x, _, w, _ in boxes})
    for left, right in itertools.pairwise(edges):
        if right - left > 1e-6:
            middle = (left + right) / 2
            assert math.isclose(sum(h for x, _, w, h in boxes if x < middle < x + w), height, rel_tol=1e-6)


def test_shades_run_from_the_first_colour_to_the_last(report):
    assert report.shade(0) == report.COLOURS[0]
    assert report.shade(report.MOST) == report.shade(3.0) == report.COLOURS[-1]
    steps = [sum(report.shade(report.MOST * i / 50)) for i in range(51)]
    assert steps == sorted(steps, reverse=True), "darker with each step"


def test_page_shows_the_script_as_it_is():
    page = (ROOT / "docs" / "tutorial" / "census.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    script = SCRIPT.read_text(encoding="utf-8")
    assert len(blocks) >= 5
    for block in blocks:
        assert block in script
