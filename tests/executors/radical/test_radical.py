"""The RADICAL-Pilot executor: settings, descriptions and answers; and on a pilot, in a Python that has the library."""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import sysconfig
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from parsl.app.bash_command import remote_side_bash_executor
from parsl.app.errors import AppTimeout, BashAppNoReturn, BashExitFailure, MissingOutputs
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.engine import FutureCall
from parsl.executors.errors import EngineWorkerLost, InvalidResourceSpecification
from parsl.executors.radical import RadicalPilotExecutor, ResourceConfig
from parsl.executors.radical.pilot import _BOOTSTRAP, Pilot, end_leftovers, search_path
from parsl.executors.radical.rpex_resources import check, cores_needed
from parsl.executors.radical.translate import BashTask, bash_function, check_specification
from parsl.executors.radical.worker import RankCall, answer_call, read_answers
from parsl.executors.remote_call import pack_call
from tests.cloud_services import run as run_script
from tests.cloud_services import script_of, variables
from tests.executors.contract import add, fail
from tests.executors.elsewhere import run_elsewhere

# -- settings ----------------------------------------------------------------------------------------------------------


def config(**settings: Any) -> ResourceConfig:
    made = ResourceConfig()
    for name, value in settings.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"masters": 0}, "masters must be a whole number of at least 1, but is 0"),
        ({"workers": 1.5}, "workers must be a whole number"),
        ({"worker_type": "Thread"}, "worker_type must be one of"),
        ({"nodes_per_worker": 2}, "must be of worker_type 'MPIWorker'"),
        ({"pilot_env_mode": "none"}, "pilot_env_mode must be 'client' or 'named'"),
    ],
)
def test_settings_that_cannot_work(settings: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        check(config(**settings))
    with pytest.raises(ConfigurationError, match=text):
        RadicalPilotExecutor("local.localhost", rpex_cfg=config(**settings)).start()


def test_a_pilot_too_small_for_its_workers() -> None:
    assert cores_needed(ResourceConfig()) == 5
    assert cores_needed(config(worker_type="MPI", nodes_per_worker=2, workers=3, masters=2)) == 26
    with pytest.raises(ConfigurationError, match="the pilot has cores=4, but masters and workers of rpex_cfg take 5"):
        RadicalPilotExecutor("local.localhost", cores=4).start()


def test_settings_by_class_and_by_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ResourceConfig.get_config()["worker_type"] == "DefaultWorker"
    monkeypatch.setattr(ResourceConfig, "worker_type", "MPI")
    assert ResourceConfig.get_config(str(tmp_path))["worker_type"] == "MPI"
    assert '"worker_type": "MPI"' in (tmp_path / "rpex.cfg").read_text()
    check(config(nodes_per_worker=2))


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "radical.pilot", None)
    executor = RadicalPilotExecutor("local.localhost", cores=8)
    executor.run_dir = str(tmp_path)
    with pytest.raises(OptionalModuleMissing, match="radical-pilot"):
        executor.start()
    executor.shutdown()


def test_parameters_are_kept() -> None:
    made = RadicalPilotExecutor("here", bulk_mode=True, working_dir="/there", cores=8, queue="debug")
    assert (made.label, made.bulk_mode, made.working_dir) == ("RPEX", True, "/there")
    assert made.rpex_pilot_kwargs == {"cores": 8, "queue": "debug"}


# -- descriptions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"ranks": 0}, {"ranks": "2"}, {"cores": 2}, {"timeout": -1}, {"named_env": 5}])
def test_a_wrong_specification(wrong: Any) -> None:
    with pytest.raises(InvalidResourceSpecification):
        check_specification(wrong, function=True, mpi=True)


def test_functions_on_several_ranks_need_an_mpi_worker() -> None:
    check_specification({"ranks": 2, "cores_per_rank": 1, "named_env": "x"}, function=True, mpi=True)
    check_specification({"ranks": 2}, function=False, mpi=False)
    with pytest.raises(InvalidResourceSpecification, match="MPIWorker"):
        check_specification({"ranks": 2}, function=True, mpi=False)


def bash(function: Any, *args: Any, **kwargs: Any) -> BashTask:
    found = bash_function(functools.partial(remote_side_bash_executor, function))
    assert found is function
    return BashTask(found, args, kwargs)


def run(task: BashTask, **resources: Any) -> int:
    entries = task.description(resources)
    return subprocess.run([entries["executable"], *entries["arguments"]], check=False).returncode


def test_a_bash_app_is_an_executable(tmp_path: Path) -> None:
    assert bash_function(add) is None
    out, err = tmp_path / "new" / "it's out", tmp_path / "err"
    err.write_text("before\n")
    task = bash(lambda n: f"echo {n}; echo why >&2\npwd", 3, stdout=str(out), stderr=(str(err), "a"), walltime=5)
    assert task.description({"ranks": 2})["ranks"] == 2
    assert "timeout -k 5 5.000000 /bin/bash" in task.description({})["arguments"][1]
    assert task.judge(run(task)) == 0
    assert out.read_text() == f"3\n{os.getcwd()}\n"
    assert err.read_text() == "before\nwhy\n"
    assert run(task) == 0
    assert out.read_text().count("3\n") == 2


def test_how_an_executable_ended(tmp_path: Path) -> None:
    err = tmp_path / "err"
    task = bash(lambda: "echo sorry >&2; exit 4", stderr=(str(err), "w"))
    with pytest.raises(BashExitFailure) as info:
        task.judge(run(task))
    assert (info.value.exitcode, info.value.stderr_tail) == (4, "sorry\n")
    task = bash(lambda outputs: "true", outputs=[str(tmp_path / "none")])
    with pytest.raises(MissingOutputs):
        task.judge(run(task))
    for command in ("sleep 60", "trap '' TERM; sleep 60 & wait; sleep 60"):
        task = bash(lambda c: c, command, walltime=0.3)
        with pytest.raises(AppTimeout, match=r"within its walltime of 0\.3 s"):
            task.judge(run(task))
    task = bash(lambda: 'echo "it\'s"; exit 3', walltime=60)
    assert run(task) == 3
    with pytest.raises(BashAppNoReturn):
        bash(lambda: 5)


# -- what a worker does ------------------------------------------------------------------------------------------------


def answers(function: Any, *args: Any, guarded: bool = True) -> list[bytes]:
    import base64

    packed, _ = pack_call(function, args, {})
    return read_answers([answer_call(base64.b64encode(packed).decode(), None, guarded=guarded)])


def outcome(state: str = "DONE", values: Any = None, **fields: Any) -> Any:
    task = SimpleNamespace(state=state, return_value=values, exception=None, stderr="", exit_code=0)
    task.__dict__.update(fields)
    return RadicalPilotExecutor("here")._outcome(task, 7)


def text(function: Any, *args: Any, guarded: bool = True) -> str:
    import base64

    packed, _ = pack_call(function, args, {})
    return answer_call(base64.b64encode(packed).decode(), None, guarded=guarded)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(5)


@pytest.mark.parametrize("guarded", [True, False])
def test_results_and_exceptions(guarded: bool) -> None:
    assert outcome(values=[text(add, 1, 2, guarded=guarded)]).result == 3
    error = outcome(values=[text(fail, 7, guarded=guarded)]).exception
    assert error.number == 7
    assert "in task 7 on host" in error.__notes__[0]


@pytest.mark.parametrize(("function", "how"), [(die, "was killed by signal 9"), (leave, "ended with exit code 5")])
def test_a_process_that_dies_is_told(function: Any, how: str) -> None:
    error = outcome(values=[text(function)]).exception
    assert isinstance(error, EngineWorkerLost)
    assert how in str(error)


def with_comm(a: int, comm: Any = None) -> Any:
    return a, comm.rank


def test_ranks_get_their_communicator_and_answer_in_their_order() -> None:
    import base64

    packed, _ = pack_call(RankCall(with_comm), (1,), {"comm": None})
    texts = [
        answer_call(base64.b64encode(packed).decode(), SimpleNamespace(rank=rank, size=2), guarded=False)
        for rank in (1, 0)
    ]
    assert outcome(values=texts).result == [(1, 0), (1, 1)]
    failing = answer_call(
        base64.b64encode(pack_call(RankCall(fail), (3,), {})[0]).decode(), SimpleNamespace(rank=0), guarded=False
    )
    assert isinstance(outcome(values=[texts[0], failing]).exception, TypeError)


@pytest.mark.parametrize(
    ("state", "values", "fields"),
    [
        ("FAILED", None, {"exception": "KeyError('x')", "stderr": ["call failed"]}),
        ("CANCELED", None, {}),
        ("DONE", None, {}),
        ("DONE", [None], {}),
    ],
)
def test_a_task_without_an_answer(state: str, values: Any, fields: Any) -> None:
    error = outcome(state, values, **fields).exception
    assert isinstance(error, EngineWorkerLost)
    assert f"the task ended as {state}" in str(error)
    if fields:
        assert "KeyError('x'); call failed" in str(error)


def test_the_function_that_travels_finds_the_rest_by_itself(tmp_path: Path) -> None:
    import base64

    import dill

    packed, _ = pack_call(lambda: 42, (), {})
    call = (_BOOTSTRAP, search_path(), base64.b64encode(packed).decode())
    (tmp_path / "call").write_bytes(dill.dumps(call))
    code = (
        "import sys; sys.path.append(sys.argv[2]); import dill; sys.path.pop(); sys.path_importer_cache.clear()\n"
        "f, path, text = dill.load(open(sys.argv[1], 'rb')); print(f(path, text))"
    )
    # Isolated: neither the working folder nor any variable leads to the package.
    command = [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "call"), sysconfig.get_path("purelib")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd="/")
    assert outcome(values=[ran.stdout.strip()]).result == 42


def test_leftovers_of_a_session_are_ended() -> None:
    name = f"rp.session.test-{os.getpid()}"
    code = "import signal; print('up', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        import parsl.executors.radical.pilot as module

        patience, module._LEFTOVER_SECONDS = module._LEFTOVER_SECONDS, 0.2
        try:
            end_leftovers(name)
        finally:
            module._LEFTOVER_SECONDS = patience
        # psutil has taken its exit code.
        assert not psutil.pid_exists(process.pid)


# -- the loss of the pilot ---------------------------------------------------------------------------------------------


def dead(**changed: Any) -> Any:
    fields = {"uid": "pilot.0000", "resource": "there", "state": "FAILED", "pilot_sandbox": "file://there/logs"}
    return SimpleNamespace(**{**fields, **changed})


@pytest.mark.parametrize("told", [([dead()],), (dead(), "FAILED")])
def test_the_end_of_the_pilot_is_told_with_the_place_of_its_logs(told: tuple[Any, ...]) -> None:
    reasons: list[str] = []
    pilot = Pilot(None, ResourceConfig(), lambda *_: None, reasons.append)
    pilot._on_pilots([dead(state="PMGR_ACTIVE")])
    assert reasons == []
    pilot._on_pilots(*told)
    assert reasons == ["the pilot pilot.0000 on there ended as FAILED; its logs are in file://there/logs"]


def test_a_pilot_that_was_told_to_end_is_no_loss() -> None:
    reasons: list[str] = []
    pilot = Pilot(None, ResourceConfig(), lambda *_: None, reasons.append)
    pilot.close()
    pilot._on_pilots([dead(state="CANCELED")])
    assert reasons == []


def test_a_call_that_comes_while_the_loss_is_told_is_told_too() -> None:
    executor = RadicalPilotExecutor("here")
    calls = [FutureCall(add, (1,), {}, {}, Future()) for _ in range(2)]
    executor._open[1] = calls[0]
    executor._on_loss("it is gone")
    # It had looked for a loss before there was one.
    executor._open[2] = calls[1]
    executor._send(2, b"", (), {})
    for call in calls:
        assert isinstance(call.future.exception(timeout=0), EngineWorkerLost)
    with pytest.raises(EngineWorkerLost, match="it is gone"):
        executor.launch(calls[0])
    assert executor.outstanding() == 0


def test_errors_survive_their_journey() -> None:
    error = EngineWorkerLost("rpex", "why")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# -- a real pilot ------------------------------------------------------------------------------------------------------


def pilot_environment(home: Path) -> dict[str, str]:
    """Return the variables for a client of RADICAL-Pilot, with a home folder of its own for all that RADICAL keeps.

    The script of the service has no status but its check, which ends all sessions of its home folder: those of another
    run of these tests too. So it is only asked to install what is missing, and for its variables.
    """
    script = script_of("radical")
    started = run_script(script, "start")
    if started.returncode != 0:
        pytest.skip(f"{script} start failed: {started.stderr.strip()[-500:]}")
    given = variables(run_script(script, "env").stdout)
    # Its login profile, its address, and the answer of a time server.
    shutil.copytree(Path(given["HOME"]), home, ignore=shutil.ignore_patterns("rp.session.*", "*.sandbox", ".psij"))
    # A part of a line for a shell, `export PATH=there:$PATH`, is among them.
    env = {name: value.replace("$PATH", os.environ["PATH"]) for name, value in given.items()}
    return {**env, "HOME": str(home), "RADICAL_BASE": str(home), "RADICAL_LOG_TGT": str(home / "radical.log")}


@pytest.mark.services
@pytest.mark.parametrize("worker", ["DefaultWorker", "MPIWorker"])
def test_on_a_pilot(worker: str, tmp_path: Path) -> None:
    """Run the contract and more on a local pilot."""
    env = pilot_environment(tmp_path / "home")
    python = Path(env["VIRTUAL_ENV"], "bin", "python")
    try:
        run_elsewhere(python, Path(__file__).parent / "live_pilot.py", tmp_path, RADICAL_WORKER=worker, **env)
    finally:
        # Where the tests had to be killed, the pilot is still there.
        end_leftovers(str(tmp_path))
