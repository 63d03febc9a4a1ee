"""What a user sees of memoization and checkpoints, in kernels on threads."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import parsl
from parsl.app.app import bash_app, join_app, python_app
from parsl.data_provider.files import File
from parsl.data_provider.staging import Staging
from parsl.dataflow.checkpoints import RECORDS
from parsl.dataflow.errors import BadCheckpoint, DataFlowException, JoinError
from parsl.dataflow.memoization import (
    BasicMemoizer,
    CheckpointCommand,
    Memoizer,
    id_for_memo,
    make_hash,
)
from parsl.dataflow.states import States
from parsl.dataflow.taskrecord import TaskRecord, Value
from parsl.errors import ConfigurationError
from parsl.executors.base import ParslExecutor
from parsl.utils import get_all_checkpoints, get_last_checkpoint
from tests.kernels import SOON, loaded

MODES = ["task_exit", "periodic", "dfk_exit", "manual"]

runs: list[Any] = []
"""What the apps below have run with."""


@pytest.fixture(autouse=True)
def no_runs() -> None:
    runs.clear()


@python_app(cache=True)
def twice(x):
    runs.append(x)
    return [2 * x]


@python_app(cache=True)
def fail(x):
    runs.append(x)
    raise KeyError(x)


def saved(folder: str | Path) -> list[dict[str, Any]]:
    """Read a checkpoint as earlier releases do."""
    records = []
    path = Path(folder, "checkpoint", RECORDS)
    if path.exists():
        with open(path, "rb") as file:
            while file.peek(1):
                records.append(pickle.load(file))
    return records


def results(folder: str | Path) -> list[Any]:
    return sorted(record["result"] for record in saved(folder))


# -- within a run -----------------------------------------------------------------------------------------------------


def test_an_equal_call_does_not_run_again(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        first = twice(1)
        result = first.result(timeout=SOON)
        again = twice(1)
        assert again.result(timeout=0) is result
        assert (twice(2).result(timeout=SOON), runs) == ([4], [1, 2])
        assert again.task_status() == "memo_done"
        assert (first.task_record.from_memo, again.task_record.from_memo) == (False, True)
        assert first.task_record["hashsum"] == again.task_record["hashsum"]
        counts = kernel.task_state_counts
        assert (counts[States.memo_done], counts[States.exec_done], counts[States.unsched]) == (1, 2, 0)
        assert kernel.tasks == {}


def test_without_cache_it_does(tmp_path: Path) -> None:
    app = python_app(runs.append)
    with loaded(tmp_path):
        for _ in range(2):
            app(1).result(timeout=SOON)
    assert runs == [1, 1]


@pytest.mark.parametrize("options", [{"app_cache": False}, {"memoizer": BasicMemoizer(memoize=False)}])
def test_memoization_can_be_switched_off(tmp_path: Path, options: dict[str, Any]) -> None:
    with loaded(tmp_path, **options):
        for _ in range(2):
            twice(1).result(timeout=SOON)
    assert runs == [1, 1]


def test_a_failure_is_remembered_within_a_run_only(tmp_path: Path) -> None:
    for n in range(2):
        with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit")):
            first = fail(1).exception(timeout=SOON)
            assert type(first) is KeyError
            assert fail(1).exception(timeout=SOON) is first
            assert len(runs) == n + 1
    assert saved(tmp_path / "000") == []


def test_retries_come_before_a_failure_is_remembered(tmp_path: Path) -> None:
    with loaded(tmp_path, retries=2):
        assert fail(1).exception(timeout=SOON) is fail(1).exception(timeout=SOON)
    assert runs == [1, 1, 1]


class Unknown:
    pass


class Raising:
    pass


@id_for_memo.register(Raising)
def _(obj: Raising, output_ref: bool = False) -> bytes:
    raise ZeroDivisionError


@pytest.mark.parametrize(("value", "kind"), [(Unknown(), ValueError), (Raising(), ZeroDivisionError)])
def test_what_cannot_be_told_apart_fails_in_the_future(tmp_path: Path, value: Any, kind: type[Exception]) -> None:
    with loaded(tmp_path):
        future = twice(value)
        assert type(future.exception(timeout=SOON)) is kind
        assert twice(3).result(timeout=SOON) == [6]
    assert runs == [3]


def test_ignored_parameters(tmp_path: Path) -> None:
    ignore = ["note"]

    @python_app(cache=True, ignore_for_cache=ignore)
    def noted(x, note=None):
        runs.append(note)
        return x

    with loaded(tmp_path):
        assert noted(1, note="a").result(timeout=SOON) == noted(1, note=Unknown()).result(timeout=SOON) == 1
        assert noted(1, "b").result(timeout=SOON) == noted(1, "c").result(timeout=SOON) == 1
    assert runs == ["a", "b"], "a call by position is another call, of which the note does not count either"
    assert ignore == ["note"]


def test_a_remembered_bash_app_writes_no_stdout(tmp_path: Path) -> None:
    @bash_app(cache=True, ignore_for_cache=["stdout"])
    def hello(stdout=None):
        return "echo hello"

    with loaded(tmp_path / "runs"):
        one, two = str(tmp_path / "one"), str(tmp_path / "two")
        assert (hello(stdout=one).result(timeout=SOON), hello(stdout=two).result(timeout=SOON)) == (0, 0)
        auto = [hello(stdout=parsl.AUTO_LOGNAME) for _ in range(2)]
        assert [future.result(timeout=SOON) for future in auto] == [0, 0]
    assert (os.path.exists(one), os.path.exists(two)) == (True, False)


def test_outputs_that_are_gone_are_made_again(tmp_path: Path) -> None:
    @python_app(cache=True)
    def write(text, outputs=()):
        runs.append(text)
        Path(outputs[0]).write_text(text)

    path = tmp_path / "out"
    with loaded(tmp_path / "runs"):
        for _ in range(2):
            assert write("a", outputs=[File(str(path))]).outputs[0].result(timeout=SOON).filepath == str(path)
        assert runs == ["a"]
        path.unlink()
        write("a", outputs=[File(str(path))]).result(timeout=SOON)
    assert (runs, path.read_text()) == (["a", "a"], "a")


class Wrapping(Staging):
    """Puts a function of one name around all that are given a file."""

    def can_stage_in(self, file: File) -> bool:
        return True

    def replace_task(self, dm: Any, executor: str, file: File, func: Any) -> Any:
        def staged(*args: Any, **kwargs: Any) -> Any:
            return func(*args, **kwargs)

        return staged


@pytest.mark.parametrize("key", ["name", "code"])
def test_staging_in_the_task_does_not_make_apps_one(tmp_path: Path, key: Any) -> None:
    file = File(str(tmp_path / "data"))
    one = python_app(lambda file: "one", cache=True)

    @python_app(cache=True)
    def two(file):
        runs.append("two")
        return "two"

    executor = parsl.ThreadPoolExecutor(storage_access=[Wrapping()])
    with loaded(tmp_path / "runs", executors=[executor], memoizer=BasicMemoizer(key=key)):
        assert [one(file).result(timeout=SOON), two(file).result(timeout=SOON)] == ["one", "two"]
        assert two(file).result(timeout=SOON) == "two"
    assert runs == ["two"]


def test_calls_at_the_same_time_run_once(tmp_path: Path) -> None:
    go = threading.Event()

    @python_app(cache=True)
    def wait(x):
        runs.append(x)
        assert go.wait(SOON)
        return object()

    with loaded(tmp_path) as kernel:
        futures = [wait(1) for _ in range(5)]
        after = [twice_of(f) for f in futures]
        other = twice(1)
        other.result(timeout=SOON)
        go.set()
        assert len({f.result(timeout=SOON) for f in futures}) == 1
        assert [f.result(timeout=SOON) for f in after] == [1] * 5
        assert kernel.task_state_counts[States.memo_done] >= 4
    assert runs == [1, 1]


@python_app
def twice_of(x):
    return 1


def test_if_the_first_of_them_is_cancelled_another_runs(tmp_path: Path) -> None:
    go = threading.Event()
    block = python_app(lambda: go.wait(SOON))
    with loaded(tmp_path, executors=[parsl.ThreadPoolExecutor(max_threads=1)]):
        blocking = block()
        first, second = twice(1), twice(1)
        third = twice(1)
        assert third.cancel()
        assert first.cancel()
        go.set()
        assert second.result(timeout=SOON) == [2]
        assert blocking.result(timeout=SOON)
    assert runs == [1]


def test_a_chain_of_100_000_remembered_links_resolves(tmp_path: Path) -> None:
    @python_app(cache=True)
    def same(x):
        runs.append(x)
        return x

    with loaded(tmp_path) as kernel:
        start: Future[int] = Future()
        same(1).result(timeout=SOON)
        link: Any = start
        for _ in range(100_000):
            link = same(link)
        start.set_result(1)
        assert link.result(timeout=60) == 1
        assert kernel.task_state_counts[States.memo_done] == 100_000
    assert runs == [1]


def test_join_apps_are_remembered_by_their_results(tmp_path: Path) -> None:
    @join_app(cache=True)
    def both(x):
        runs.append("join")
        return [twice(x), twice(x + 1)]

    for _ in range(2):
        with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit")):
            for _ in range(2):
                assert both(1).result(timeout=SOON) == [[2], [4]]
    assert sorted(runs, key=str) == [1, 2, "join"]


def test_the_failure_of_a_join_is_remembered(tmp_path: Path) -> None:
    @join_app(cache=True)
    def failing(x):
        runs.append("join")
        return fail(x)

    with loaded(tmp_path):
        first = failing(1).exception(timeout=SOON)
        assert type(first) is JoinError
        assert failing(1).exception(timeout=SOON) is first
    assert runs == ["join", 1]


def test_without_garbage_collection_remembered_calls_stay_in_the_books(tmp_path: Path) -> None:
    with loaded(tmp_path, garbage_collect=False) as kernel:
        twice(1).result(timeout=SOON)
        assert twice(1).result(timeout=SOON) == [2]
        assert [(t.status, t.args) for t in kernel.tasks.values()] == [
            (States.exec_done, (1,)),
            (States.memo_done, (1,)),
        ]


# -- on disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, *MODES])
def test_what_each_mode_has_saved_by_when(tmp_path: Path, mode: Any) -> None:
    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode=mode)):
        for x in (1, 2):
            twice(x).result(timeout=SOON)
        at_once = results(tmp_path / "000")
    at_end = results(tmp_path / "000")
    assert at_once == ([[2], [4]] if mode == "task_exit" else [])
    assert at_end == ([[2], [4]] if mode in {"task_exit", "periodic", "dfk_exit"} else [])


@pytest.mark.parametrize("mode", [None, *MODES])
def test_saving_by_hand(tmp_path: Path, mode: Any, caplog: pytest.LogCaptureFixture) -> None:
    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode=mode)) as kernel:
        twice(1).result(timeout=SOON)
        kernel.memoizer.checkpoint()
        assert results(tmp_path / "000") == [[2]]
        twice(2).result(timeout=SOON)
        assert kernel.checkpoint() == str(tmp_path / "000" / "checkpoint")
        assert results(tmp_path / "000") == [[2], [4]]
        kernel.memoizer.checkpoint()
    assert results(tmp_path / "000") == [[2], [4]]
    log = (tmp_path / "000" / "parsl.log").read_text()
    assert " Done checkpointing" in log
    assert (" No tasks checkpointed in this pass" in log) == (mode != "task_exit")


def test_a_list_of_tasks_can_be_saved(tmp_path: Path) -> None:
    with loaded(tmp_path, checkpoint_mode="manual") as kernel:
        futures = [twice(1), twice(2), fail(3)]
        for future in futures:
            future.exception(timeout=SOON)
        kernel.checkpoint([futures[1].task_record, futures[2].task_record])
        assert results(tmp_path / "000") == [[4]]
        kernel.memoizer.checkpoint_one(CheckpointCommand(futures[0].task_record, result="given"))
    assert [record["result"] for record in saved(tmp_path / "000")] == [[4], "given"]


class Listener(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.heard.set()


def test_periodic_mode_saves_now_and_then(tmp_path: Path) -> None:
    memoizer = BasicMemoizer(checkpoint_mode="periodic", checkpoint_period="00:00:01")
    listener = Listener("Done checkpointing 1 tasks")
    logger = logging.getLogger("parsl.dataflow.checkpoint_saver")
    logger.addHandler(listener)
    try:
        with loaded(tmp_path, memoizer=memoizer) as kernel:
            assert kernel.memoizer.checkpoint_period == "00:00:01"
            twice(1).result(timeout=SOON)
            assert listener.heard.wait(SOON)
            assert results(tmp_path / "000") == [[2]]
    finally:
        logger.removeHandler(listener)


class Late(ParslExecutor):
    """Ends its tasks when it is shut down."""

    label = "late"

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[TaskRecord] = []
        self.launched = threading.Semaphore(0)

    def start(self) -> None:
        pass

    def launch(self, task: TaskRecord) -> None:
        self.tasks.append(task)
        self.launched.release()

    def submit(self, func: Any, resource_specification: dict[str, Any], *args: Any, **kwargs: Any) -> Future[Any]:
        raise AssertionError

    def shutdown(self) -> None:
        for task in self.tasks:
            task.done(Value(task.args[0]))


@pytest.mark.parametrize("mode", MODES[:3])
def test_results_that_come_while_executors_end_are_saved(tmp_path: Path, mode: Any) -> None:
    executor = Late()
    with loaded(tmp_path, executors=[executor], memoizer=BasicMemoizer(checkpoint_mode=mode)):
        future = twice(5)
        assert executor.launched.acquire(timeout=SOON)
    assert type(future.exception(timeout=0)) is DataFlowException
    assert results(tmp_path / "000") == [5]


@pytest.mark.parametrize("mode", MODES[:3])
def test_a_later_run_computes_only_what_is_new(tmp_path: Path, mode: Any) -> None:
    for n in range(3):
        with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode=mode)):
            assert [twice(x).result(timeout=SOON) for x in range(n + 2)] == [[2 * x] for x in range(n + 2)]
    assert runs == [0, 1, 2, 3]
    # What came from an earlier run is in this one's checkpoint too.
    assert results(tmp_path / "002") == [[0], [2], [4], [6]]


def test_release_2024_style(tmp_path: Path) -> None:
    with loaded(tmp_path, checkpoint_mode="dfk_exit"):
        twice(1).result(timeout=SOON)
    with loaded(tmp_path, checkpoint_mode="task_exit"):
        twice(1).result(timeout=SOON)
    assert runs == [1, 1], "no file was named, so none is read"
    with loaded(tmp_path, checkpoint_files=get_last_checkpoint(str(tmp_path))):
        twice(1).result(timeout=SOON)
    assert runs == [1, 1]
    with loaded(tmp_path) as kernel:
        known = kernel.load_checkpoints(get_all_checkpoints(str(tmp_path)))
        assert [future.result() for future in known.values()] == [[2]]
        twice(1).result(timeout=SOON)
    assert runs == [1, 1]


def test_a_list_of_files_replaces_the_search(tmp_path: Path) -> None:
    for x in (1, 2):
        with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit", checkpoint_files=[])):
            twice(x).result(timeout=SOON)
    named = BasicMemoizer(checkpoint_files=[str(tmp_path / "000" / "checkpoint")], checkpoint_mode="task_exit")
    with loaded(tmp_path, memoizer=named):
        for x in (1, 2):
            twice(x).result(timeout=SOON)
    assert runs == [1, 2, 2]


def test_a_run_of_an_earlier_release_is_continued(tmp_path: Path) -> None:
    with loaded(tmp_path / "elsewhere"):
        future = twice(1)
        future.result(timeout=SOON)
        hashsum = future.task_record.hashsum
    folder = tmp_path / "runs" / "000" / "checkpoint"
    folder.mkdir(parents=True)
    with open(folder / RECORDS, "wb") as file:
        pickle.dump({"hash": hashsum, "exception": None, "result": "theirs"}, file)
        pickle.dump({"hash": "0" * 32, "exception": KeyError(1), "result": None}, file)
    with loaded(tmp_path / "runs", memoizer=BasicMemoizer(checkpoint_mode="task_exit")) as kernel:
        assert twice(1).result(timeout=SOON) == "theirs"
        assert kernel.memoizer.hash_lookup(hashsum).result() == "theirs"
        with pytest.raises(KeyError):
            kernel.memoizer.hash_lookup("1" * 32)
    assert saved(tmp_path / "runs" / "001") == [{"hash": hashsum, "exception": None, "result": "theirs"}]


def test_wrong_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="nowhere"), loaded(tmp_path, checkpoint_files=[str(tmp_path / "nowhere")]):
        raise AssertionError
    with loaded(tmp_path) as kernel:
        with pytest.raises(BadCheckpoint, match="nowhere"):
            kernel.load_checkpoints(["nowhere"])
        with pytest.raises(TypeError, match="must be a list"):
            kernel.load_checkpoints("nowhere")


@pytest.mark.parametrize("mode", ["task_exit", "dfk_exit"])
def test_a_result_that_cannot_be_saved_is_told_and_good(tmp_path: Path, mode: Any) -> None:
    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode=mode)):
        app = python_app(lambda x: lambda: x, cache=True)
        assert app(1).result(timeout=SOON)() == 1
        assert twice(1).result(timeout=SOON) == [2]
    assert results(tmp_path / "000") == [[2]]
    assert "A result of type function cannot be saved" in (tmp_path / "000" / "parsl.log").read_text()


def test_a_disk_that_takes_nothing_is_told_and_results_are_good(tmp_path: Path) -> None:
    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit")):
        (tmp_path / "000" / "checkpoint").write_text("a file is in the way")
        assert twice(1).result(timeout=SOON) == [2]
    assert "1 results could not be saved" in (tmp_path / "000" / "parsl.log").read_text()


def test_results_are_saved_as_they_were_when_the_task_ended(tmp_path: Path) -> None:
    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="dfk_exit")):
        twice(1).result(timeout=SOON).append("changed")
    assert results(tmp_path / "000") == [[2]]


def test_results_on_their_way_to_the_disk_survive_a_cleanup(tmp_path: Path) -> None:
    """A cleanup that comes right after the tasks have run loses none of them."""
    ended = threading.Semaphore(0)

    @python_app(cache=True)
    def app(x):
        ended.release()
        return x

    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit")):
        futures = [app(x) for x in range(200)]
        for _ in futures:
            assert ended.acquire(timeout=SOON)
    done = [f.result(timeout=0) for f in futures if f.exception(timeout=0) is None]
    assert set(done) <= set(results(tmp_path / "000"))


# -- code -------------------------------------------------------------------------------------------------------------

_numbers = itertools.count()


def edited(text: str) -> Callable[..., Any]:
    names: dict[str, Any] = {"__name__": "users_module", "runs": runs}
    exec(compile(text, f"edit_{next(_numbers)}.py", "exec"), names)
    return python_app(names["app"], cache=True)


@pytest.mark.parametrize(("key", "expected"), [("name", [2, 2, 2]), ("code", [2, 2, 3])])
def test_an_edited_app_runs_again_when_code_counts(tmp_path: Path, key: Any, expected: list[int]) -> None:
    texts = [f"def app(x): return helper(x)\ndef helper(x): return x + {n}" for n in (1, 1, 2)]
    found = []
    for text in texts:
        with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit", key=key)):
            found.append(edited(text)(1).result(timeout=SOON))
    assert found == expected


# -- memoizers of users -----------------------------------------------------------------------------------------------


class ByHand(Memoizer):
    """Remembers in its own way, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.answers: dict[Any, Future[Any]] = {}

    def start(self, *, run_dir: str, config_run_dir: str) -> None:
        self.told.append(("start", run_dir, config_run_dir))

    def check_memo(self, task: TaskRecord) -> Future[Any] | None:
        return self.answers.get(task["args"][0])

    def update_memo_result(self, task: TaskRecord, r: Any) -> None:
        self.told.append((task["func_name"], r))

    def update_memo_exception(self, task: TaskRecord, e: BaseException) -> None:
        self.told.append((task["func_name"], e))

    def close(self) -> None:
        self.told.append("close")


def test_a_memoizer_of_ones_own(tmp_path: Path) -> None:
    memoizer = ByHand()
    later: Future[str] = Future()
    memoizer.answers = {5: Future(), 6: later, 7: Future()}
    memoizer.answers[5].set_result("five")
    memoizer.answers[7].set_exception(OSError("seven"))
    with loaded(tmp_path, memoizer=memoizer) as kernel:
        waiting = twice(6)
        assert twice(5).result(timeout=SOON) == "five"
        assert str(twice(7).exception(timeout=SOON)) == "seven"
        assert twice(1).result(timeout=SOON) == [2]
        error = fail(2).exception(timeout=SOON)
        assert not waiting.done()
        later.set_result("six")
        assert waiting.result(timeout=SOON) == "six"
        with pytest.raises(TypeError, match="ByHand, is no BasicMemoizer"):
            kernel.checkpoint()
    assert runs == [1, 2]
    start = ("start", str(tmp_path / "000"), str(tmp_path))
    assert memoizer.told == [start, ("twice", [2]), ("fail", error), "close"]
    with pytest.raises(KeyError):
        memoizer.hash_lookup("x")
    future: Future[int] = Future()
    future.set_result(3)
    memoizer.update_memo(waiting.task_record, future)
    assert memoizer.told[-1] == ("twice", 3)


class Choosy(BasicMemoizer):
    """Takes nothing remembered for odd arguments."""

    def check_memo(self, task: TaskRecord) -> Future[Any] | None:
        assert threading.current_thread().name == "parsl-loop"
        return None if task.args[0] % 2 else super().check_memo(task)


def test_a_basic_memoizer_with_a_rule_of_ones_own(tmp_path: Path) -> None:
    with loaded(tmp_path, memoizer=Choosy()):
        for x in (1, 2, 1, 2):
            twice(x).result(timeout=SOON)
    assert runs == [1, 2, 1]


class Parity(BasicMemoizer):
    """Takes all even and all odd numbers for the same."""

    def make_hash(self, task: TaskRecord) -> str:
        return "odd" if task.args[0] % 2 else "even"


def test_a_basic_memoizer_with_keys_of_ones_own(tmp_path: Path) -> None:
    for _ in range(2):
        with loaded(tmp_path, memoizer=Parity(checkpoint_mode="task_exit")):
            assert [twice(x).result(timeout=SOON) for x in (1, 2, 3, 4)] == [[2], [4], [2], [4]]
    assert runs == [1, 2]


class Broken(BasicMemoizer):
    def update_memo_result(self, task: TaskRecord, r: Any) -> None:
        raise ZeroDivisionError

    def update_memo_exception(self, task: TaskRecord, e: BaseException) -> None:
        raise ZeroDivisionError

    def close(self) -> None:
        super().close()
        raise ZeroDivisionError


def test_a_memoizer_that_raises_makes_its_task_fail_and_nothing_else(tmp_path: Path) -> None:
    with loaded(tmp_path, memoizer=Broken()):
        assert type(twice(1).exception(timeout=SOON)) is ZeroDivisionError
        assert type(fail(1).exception(timeout=SOON)) is KeyError
    log = (tmp_path / "000" / "parsl.log").read_text()
    assert "could not take note of the failure of task 1" in log
    assert "The memoizer did not end cleanly" in log
    assert "Cleaned up run" in log


# -- the class by itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"checkpoint_mode": "sometimes"}, TypeError, "checkpoint_mode"),
        ({"checkpoint_files": "folder"}, TypeError, "checkpoint_files"),
        ({"memoize": "yes"}, TypeError, "memoize"),
        ({"key": "args"}, TypeError, "key"),
        ({"checkpoint_period": "00:10:00"}, ConfigurationError, "needs checkpoint_mode='periodic'"),
        ({"checkpoint_period": "00:00:00", "checkpoint_mode": "periodic"}, ConfigurationError, "'00:00:00'"),
        ({"checkpoint_period": "soon", "checkpoint_mode": "periodic"}, ConfigurationError, "HH:MM:SS.*'soon'"),
    ],
)
def test_wrong_settings_are_told_at_once(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        BasicMemoizer(**options)


def test_defaults_and_repr() -> None:
    assert BasicMemoizer(checkpoint_mode="periodic").checkpoint_period == "00:30:00"
    assert "checkpoint_mode='task_exit'" in repr(BasicMemoizer(checkpoint_mode="task_exit")).replace('"', "'")
    with pytest.raises(ConfigurationError, match="has not been started"):
        BasicMemoizer().checkpoint()


def test_a_memoizer_serves_one_run_after_another(tmp_path: Path) -> None:
    memoizer = BasicMemoizer(checkpoint_mode="task_exit", checkpoint_files=[])
    for n in range(2):
        with loaded(tmp_path, memoizer=memoizer):
            twice(1).result(timeout=SOON)
        assert results(tmp_path / f"00{n}") == [[2]]
    assert runs == [1, 1]


def test_make_hash_is_the_hash_of_the_record(tmp_path: Path) -> None:
    with loaded(tmp_path, garbage_collect=False) as kernel:
        future = twice(1)
        future.result(timeout=SOON)
        assert make_hash(future.task_record) == future.task_record["hashsum"]
        assert kernel.memoizer.make_hash(future.task_record) == future.task_record["hashsum"]


def test_the_kernel_lets_go_of_what_ended(tmp_path: Path) -> None:
    with loaded(tmp_path, memoizer=BasicMemoizer(checkpoint_mode="task_exit")) as kernel:
        for x in range(10):
            twice(x).result(timeout=SOON)
            twice(x).result(timeout=SOON)
        assert kernel.task_state_counts[States.memo_done] == 10
        kernel.loop.call(lambda: None)
        assert not kernel._remembering.running
        assert not kernel._remembering.answered
