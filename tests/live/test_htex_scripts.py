"""Whole scripts: how they are started, what their functions may use, and how they may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import psutil
import pytest

from tests.live import pilot

LOAD = """
import os, sys
import parsl
from parsl import bash_app, python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

htex = HighThroughputExecutor(
    label="htex", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, provider=LocalProvider()
)
config = Config(executors=[htex], strategy="none", run_dir={run_dir!r})
"""


@pytest.fixture
def script(tmp_path):
    """Write a script of a text, with an executor and a configuration made at its top."""

    def write(text: str, name: str = "script.py") -> Path:
        path = tmp_path / "project" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(LOAD.format(run_dir=str(tmp_path / "runs")) + textwrap.dedent(text))
        return path

    return write


def run(command, **options) -> str:
    """Run a command to its good end and return what it printed."""
    settings = {"env": pilot.script_environment(), "stdin": subprocess.DEVNULL, **options}
    if "input" in options:
        del settings["stdin"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


def children_of(pid: int) -> list[psutil.Process]:
    """Return the processes of the run of a script."""
    return psutil.Process(pid).children(recursive=True)


# -- how a script is started -------------------------------------------------------------------------------------------

COUNTING = """
    print("once")

    @python_app
    def add(a, b):
        return a + b

    @bash_app
    def say(stdout=None):
        return "echo $((20 + 22))"

    with parsl.load(config):
        print([add(i, 1).result() for i in range(3)])
        print(say(stdout=os.path.join({out!r}, "out")).result())
        print(sorted({type(sys.modules["__main__"]).__name__}))
"""


def test_an_environment_that_nobody_activated_will_do(tmp_path, script):
    """No script of the package is on PATH, and nothing in the environment helps."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    source = pilot.script_environment()["PYTHONPATH"]
    (site / "both.pth").write_text(f"{source}\n{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    path = script(COUNTING.replace("{out!r}", repr(str(tmp_path))))
    output = run(["env", "-i", "PATH=/usr/bin:/bin", python, path], env={}, cwd="/")
    assert output.splitlines()[:3] == ["once", "[1, 2, 3]", "0"]
    assert (tmp_path / "out").read_text() == "42\n"


MAIN = """
    import dataclasses, enum, functools

    FACTOR = 3

    class Colour(enum.Enum):
        RED = 1

    @dataclasses.dataclass
    class Point:
        x: int
        colour: Colour = Colour.RED

        def scaled(self):
            return scale(self)

    class Oops(Exception):
        def __init__(self, *, point):
            self.point = point

    def scale(point):
        return dataclasses.replace(point, x=point.x * FACTOR)

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)
        return wrapper

    @python_app
    @logged
    def move(point):
        if point.x < 0:
            raise Oops(point=point)
        assert isinstance(point, Point)
        return [scale(point), point.scaled(), point.colour]

    with parsl.load(config):
        scaled, again, colour = move(Point(2)).result()
        assert type(scaled) is Point and scaled == again == Point(6), scaled
        assert colour is Colour.RED
        try:
            move(Point(-1)).result()
        except Oops as e:
            assert type(e.point) is Point
            assert e.__traceback__ is not None
        lambdas = [python_app(lambda x, n=n: x + n) for n in range(3)]
        assert [a(1).result() for a in lambdas] == [1, 2, 3]
        print("good")
"""


@pytest.mark.parametrize("way", ["file", "stdin", "command", "namespace"])
def test_functions_and_classes_of_the_script_work_however_it_is_run(tmp_path, script, way):
    path = script(MAIN)
    if way == "file":
        output = run([sys.executable, path])
    elif way == "stdin":
        output = run([sys.executable, "-"], input=path.read_text(), cwd=tmp_path)
    elif way == "command":
        output = run([sys.executable, "-c", path.read_text()], cwd=tmp_path)
    else:
        # As notebooks and IPython run what is typed in.
        code = "exec(compile(open('{}').read(), '<cell 1>', 'exec'), {{'__name__': '__main__'}})"
        output = run([sys.executable, "-c", code.format(path)], cwd=tmp_path)
    assert output == "good\n"


# -- what workers find -------------------------------------------------------------------------------------------------


def test_workers_look_for_modules_where_the_script_does(tmp_path, script):
    path = script(
        """
        import beside, twice, json.decoder
        sys.path.insert(0, os.path.join(sys.path[0], "more"))
        import inserted

        @python_app
        def look():
            import beside, twice, inserted, later, json
            try:
                import here_only
            except ImportError:
                here = None
            else:
                here = here_only.__file__
            return beside.VALUE, twice.VALUE, inserted.VALUE, later.VALUE, json.__file__, here, sys.argv

        sys.path.append(os.path.join(sys.path[1], "last"))
        with parsl.load(config):
            *values, json_file, here, argv = look().result()
            assert values == [beside.VALUE, twice.VALUE, inserted.VALUE, "later"], values
            assert json_file == json.__file__
            assert here is None, here
            assert argv == [""], argv
            print(values)
            print(python_app(beside.double)(4).result(), beside.app(5).result())
        """
    )
    project, other, cwd = path.parent, tmp_path / "other", tmp_path / "cwd"
    for folder in (project / "more", project / "last", other, cwd):
        folder.mkdir()
    (project / "beside.py").write_text(
        "import parsl\nVALUE = 'beside'\ndef double(x):\n    return 2 * x\n"
        "@parsl.python_app\ndef app(x):\n    return 2 * x\n"
    )
    (project / "twice.py").write_text("VALUE = 'of the project'\n")
    (other / "twice.py").write_text("VALUE = 'of PYTHONPATH'\n")
    (project / "more" / "inserted.py").write_text("VALUE = 'inserted'\n")
    (project / "last" / "later.py").write_text("VALUE = 'later'\n")
    # Python's own has to stay in front of what was appended; the working directory is no place to look.
    (project / "last" / "json.py").write_text("")
    (cwd / "here_only.py").write_text("")
    (cwd / "twice.py").write_text("VALUE = 'of the working directory'\n")
    environment = pilot.script_environment()
    environment["PYTHONPATH"] += f":{other}"
    output = run([sys.executable, path], env=environment, cwd=cwd)
    assert output.splitlines() == ["['beside', 'of the project', 'inserted', 'later']", "8 10"]


# -- how a script ends -------------------------------------------------------------------------------------------------

RUNNING = """
    import time

    @python_app
    def wait(path):
        open(path + str(os.getpid()), "w").close()
        time.sleep(600)

    {first}
    dfk = parsl.load(config)
    future = wait(os.path.join({folder!r}, "started-"))
    while not any(n.startswith("started-") for n in os.listdir({folder!r})):
        time.sleep(0.01)
    print(htex._client.store.folder, flush=True)
    {then}
"""


def started(tmp_path, script, then: str, first: str = "") -> tuple[subprocess.Popen, str]:
    """Start a script whose task runs; return its process and the folder of its segments."""
    path = script(RUNNING.replace("{folder!r}", repr(str(tmp_path))).replace("{then}", then).replace("{first}", first))
    process = subprocess.Popen(
        [sys.executable, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=pilot.script_environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("number", "first"),
    [
        (signal.SIGKILL, ""),
        (signal.SIGTERM, ""),
        (signal.SIGKILL, f"htex.launch_cmd = {pilot.OVER_TCP!r}"),
    ],
    ids=["killed", "terminated", "killed, with nodes elsewhere"],
)
def test_nothing_outlives_a_script_that_is_killed(tmp_path, script, number, first):
    process, store = started(tmp_path, script, "future.result()", first)
    with process:
        processes = children_of(process.pid)
        assert len(processes) >= 5
        process.send_signal(number)
        process.communicate(timeout=pilot.SOON)
    assert not pilot.still_there(processes, 10)
    assert not os.path.exists(store)


def test_nothing_outlives_a_script_that_is_killed_with_its_interchange(tmp_path, script):
    """As a ctrl-\\ in the terminal does, or the end of a job that the script runs in."""
    process, store = started(tmp_path, script, "future.result()")
    with process:
        processes = children_of(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=pilot.SOON)
    assert not pilot.still_there(processes, 10)
    # Nobody was left to remove it; whoever comes next does.
    pilot.kernel(tmp_path).cleanup()
    assert not os.path.exists(store)


def test_ctrl_c_ends_the_script_and_all_it_started(tmp_path, script):
    process, store = started(tmp_path, script, "future.result()")
    with process:
        processes = children_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=pilot.SOON)
    assert "KeyboardInterrupt" in errors
    assert process.returncode == -signal.SIGINT
    assert not pilot.still_there(processes, 10)
    assert not os.path.exists(store)


@pytest.mark.parametrize(
    ("then", "code", "error"),
    [("", 0, ""), ("sys.exit(5)", 5, ""), ("raise LookupError('my own')", 1, "LookupError: my own")],
)
def test_a_script_may_end_without_cleaning_up(tmp_path, script, then, code, error):
    process, store = started(tmp_path, script, then)
    with process:
        _, errors = process.communicate(timeout=pilot.SOON)
    assert process.returncode == code, errors
    assert error in errors
    assert "Traceback" not in errors or error
    assert not os.path.exists(store)
    assert not [p for p in psutil.process_iter() if str(tmp_path) in " ".join(_command(p))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
