"""Files of calls: staged in and out, copied on their way, and what the caller sees of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl import File, bash_app, python_app
from parsl.app.futures import DataFuture
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.staging import Staging
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, loaded


@python_app
def read(file: Any, inputs: Any = (), named: Any = None) -> list[str]:
    """Return what the task is given, each read."""
    files = [file, *inputs, *([named] if named else [])]
    return [Path(f).read_text() for f in files]


@bash_app
def write(text: str, outputs: Any = ()) -> str:
    return "; ".join(f"echo -n {text} > {os.fspath(o)}" for o in outputs)


class Cache(Staging):
    """Stages `kept:` files out of a folder and back, in the way that it is told, and notes what it is asked.

    Args:
        folder: where `kept:/x` is.
        work: where tasks find their copies.
        way: 'nothing' (no task and no wrapper), 'task' or 'wrap'.
    """

    def __init__(self, folder: Path, work: Path, way: str) -> None:
        self.folder = folder
        self.work = work
        self.way = way
        self.asked: list[tuple[str, str]] = []
        for place in (folder, work):
            place.mkdir()

    def can_stage_in(self, file: File) -> bool:
        return file.scheme == "kept"

    can_stage_out = can_stage_in

    def place(self, file: File) -> tuple[Path, Path]:
        file.local_path = str((self.folder if self.way == "nothing" else self.work) / file.filename)
        return self.folder / file.filename, Path(file.local_path)

    def stage_in(self, dm: Any, executor: str, file: File, parent_fut: Future[Any] | None) -> DataFuture | None:
        self.asked.append(("in", file.filename))
        kept, here = self.place(file)
        if self.way != "task":
            return None
        # The transfer waits for the file's producer, and must not have that file staged in turn.
        options = {"executors": ["_parsl_internal"], "app_kwargs": {"_parsl_staging_inhibit": True}}
        future = dm.dfk.submit(copy, (kept, here, parent_fut), **options)
        return DataFuture(future, file, tid=future.tid)

    def stage_out(self, dm: Any, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        self.asked.append(("out", file.filename))
        kept, here = self.place(file)
        if self.way != "task":
            return None
        return dm.dfk.submit(copy, (here, kept, app_fu), executors=["_parsl_internal"])  # type: ignore[no-any-return]

    def replace_task(self, dm: Any, executor: str, file: File, func: Callable[..., Any]) -> Callable[..., Any] | None:
        if self.way != "wrap":
            return None
        kept, here = self.place(file)
        return lambda *args, **kwargs: (copy(kept, here), func(*args, **kwargs))[1]

    def replace_task_stage_out(
        self, dm: Any, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        if self.way != "wrap":
            return None
        kept, here = self.place(file)
        return lambda *args, **kwargs: (func(*args, **kwargs), copy(here, kept))[0]


def copy(source: Path, target: Path, after: Any = None) -> None:
    target.write_text(source.read_text())


@pytest.fixture(params=["nothing", "task", "wrap"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    cache = Cache(tmp_path / "kept", tmp_path / "work", request.param)
    executor = ThreadPoolExecutor(label="threads", storage_access=[cache, NoOpFileStaging()])
    with loaded(tmp_path / "runs", executors=[executor]):
        yield cache


# -- plain paths ------------------------------------------------------------------------------------------------------


def test_files_of_this_machine_are_there_already(kernel: DataFlowKernel, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    a, b, c = (File(str(tmp_path / name)) for name in "abc")
    assert read(a, inputs=[b], named=c).result(timeout=SOON) == ["a", "b", "c"]
    assert read(a, inputs=(b, c)).result(timeout=SOON) == ["a", "b", "c"]


def test_a_produced_file_is_waited_for(kernel: DataFlowKernel, tmp_path: Path) -> None:
    target = File(str(tmp_path / "out"))
    future = write("made", outputs=[target])
    (output,) = future.outputs
    assert future.outputs is future._outputs
    assert isinstance(output, DataFuture)
    assert output.tid == future.tid
    assert read(output, inputs=[output]).result(timeout=SOON) == ["made", "made"]
    assert output.result(timeout=SOON) is target
    assert output.filepath == str(tmp_path / "out")


def test_several_outputs_keep_their_order_and_paths_are_files_too(kernel: DataFlowKernel, tmp_path: Path) -> None:
    names = [str(tmp_path / f"out{i}") for i in range(4)]
    future = write("x", outputs=[File(names[0]), names[1], Path(names[2]), File(names[3])])
    assert [o.result(timeout=SOON).filepath for o in future.outputs] == names
    assert read(future.outputs[1], inputs=future.outputs).result(timeout=SOON) == ["x"] * 5


def test_a_file_that_its_task_does_not_make_fails_for_those_who_wait(kernel: DataFlowKernel, tmp_path: Path) -> None:
    broken = python_app(lambda outputs: 1 / 0)(outputs=[File(str(tmp_path / "never"))])
    assert isinstance(broken.outputs[0].exception(timeout=SOON), ZeroDivisionError)
    error = read(broken.outputs[0]).exception(timeout=SOON)
    assert isinstance(error, DependencyError)
    assert f"task {broken.tid}" in str(error)


def test_cancelling_the_task_cancels_its_files(kernel: DataFlowKernel, tmp_path: Path) -> None:
    never: Future[int] = Future()
    future = write(never, outputs=[File(str(tmp_path / "x"))])  # type: ignore[arg-type]
    assert future.outputs[0].cancel() is True
    assert future.cancelled()
    assert future.outputs[0].cancelled()


def test_no_list_given_is_changed(kernel: DataFlowKernel, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    inputs, outputs = [File(str(tmp_path / "in"))], [File(str(tmp_path / "out"))]
    kept = (list(inputs), list(outputs))
    app = python_app(lambda inputs, outputs: copy(Path(inputs[0]), Path(outputs[0])))
    app(inputs=inputs, outputs=outputs).result(timeout=SOON)
    assert all(a is b for a, b in zip([*inputs, *outputs], [*kept[0], *kept[1]], strict=True))


# -- staging ----------------------------------------------------------------------------------------------------------


def test_a_file_is_staged_in_whichever_way(cache: Cache) -> None:
    (cache.folder / "a").write_text("kept a")
    (cache.folder / "b").write_text("kept b")
    a, b = File("kept:/a"), File("kept:/b")
    assert read(a, inputs=[b], named=a).result(timeout=SOON) == ["kept a", "kept b", "kept a"]
    assert a.local_path is b.local_path is None
    assert {way for way, _ in cache.asked} == {"in"}
    with pytest.raises(ValueError, match="No local_path"):
        str(a)


def test_a_file_is_staged_out_whichever_way(cache: Cache) -> None:
    target = File("kept:/made")
    future = write("by a task", outputs=[target])
    assert future.outputs[0].result(timeout=SOON) is target
    assert (cache.folder / "made").read_text() == "by a task"
    assert target.local_path is None
    assert cache.asked == [("out", "made")]


def test_what_one_task_makes_the_next_one_reads(cache: Cache) -> None:
    middle = write("passed on", outputs=[File("kept:/middle")]).outputs[0]
    assert read(middle, inputs=[middle]).result(timeout=SOON) == ["passed on"] * 2


def test_a_provider_without_a_task_keeps_the_dependency_on_the_producer(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept", tmp_path / "work", "nothing")
    executor = ThreadPoolExecutor(storage_access=[cache])
    with loaded(tmp_path / "runs", executors=[executor]):
        gate: Future[str] = Future()
        produced = write(gate, outputs=[File("kept:/late")]).outputs[0]  # type: ignore[arg-type]
        reading = read(produced)
        assert not reading.done()
        gate.set_result("now")
        assert reading.result(timeout=SOON) == ["now"]


def test_standard_output_is_a_file_like_any_other(cache: Cache) -> None:
    say = bash_app(lambda stdout=None, stderr=None: "echo out; echo err >&2")
    out, err = File("kept:/stdout"), File("kept:/stderr")
    future = say(stdout=out, stderr=err)
    assert isinstance(future.stdout, DataFuture)
    assert future.stdout.result(timeout=SOON) is out
    assert future.stderr.result(timeout=SOON) is err
    assert (cache.folder / "stdout").read_text() == "out\n"
    assert (cache.folder / "stderr").read_text() == "err\n"
    assert {way for way, _ in cache.asked} == {"out"}
    assert read(future.stdout).result(timeout=SOON) == ["out\n"]


def test_standard_output_is_a_file_with_a_mode(cache: Cache) -> None:
    say = bash_app(lambda text, stdout=None: f"echo {text}")
    out = File("kept:/stdout")
    for text in ("old", "new"):
        future = say(text, stdout=(out, "w"))
        assert future.stdout.result(timeout=SOON) is out
    assert (cache.folder / "stdout").read_text() == "new\n"


def test_staging_can_be_switched_off_for_a_call(cache: Cache) -> None:
    app = python_app(lambda file, outputs=(): (type(file).__name__, file.local_path))
    future = app(File("kept:/a"), outputs=[File("kept:/b")], _parsl_staging_inhibit=True)
    assert future.result(timeout=SOON) == ("File", None)
    assert future.outputs[0].done()
    assert cache.asked == []


def test_a_file_that_no_provider_takes_is_refused_at_the_call(kernel: DataFlowKernel) -> None:
    far = File("far://host/x")
    for call in (lambda: read(far), lambda: read("x", inputs=[far]), lambda: write("x", outputs=[far])):
        with pytest.raises(ValueError, match="'threads' has no staging provider for far://host/x"):
            call()
    assert kernel.tasks == {}


def test_a_provider_that_raises_raises_at_the_call(tmp_path: Path) -> None:
    class Broken(NoOpFileStaging):
        def stage_in(self, dm: Any, executor: str, file: File, parent_fut: Any) -> None:
            raise OSError("no way there")

    with loaded(tmp_path, executors=[ThreadPoolExecutor(storage_access=[Broken()])]):
        with pytest.raises(OSError, match="no way there"):
            read(File("/data/x"))
        assert python_app(lambda: 1)().result(timeout=SOON) == 1
