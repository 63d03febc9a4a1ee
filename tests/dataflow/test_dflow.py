"""The life of kernels: made, loaded, used from all sides, cleaned up."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel, DataFlowKernelLoader
from parsl.dataflow.errors import DependencyError
from parsl.errors import ConfigurationError, NoDataFlowKernelError
from parsl.executors.errors import ExecutorShutDownError
from parsl.executors.threads import ThreadPoolExecutor
from tests.kernels import SOON, loaded, threads_config


@python_app
def double(x: int) -> int:
    return 2 * x


# -- one loaded kernel ------------------------------------------------------------------------------------------------


def test_without_a_kernel_an_app_raises_at_the_call() -> None:
    assert DataFlowKernelLoader._dfk is None
    for ask in (lambda: double(1), parsl.dfk, parsl.wait_for_current_tasks):
        with pytest.raises(NoDataFlowKernelError) as raised:
            ask()
        assert str(raised.value) == "Must first load config"


def test_load_makes_the_kernel_that_apps_use(tmp_path: Path) -> None:
    with parsl.load(threads_config(tmp_path)) as kernel:
        assert parsl.dfk() is kernel is DataFlowKernelLoader._dfk
        assert isinstance(kernel, DataFlowKernel)
        future = double(4)
        assert future.task_record.dfk is kernel
        assert future.result(timeout=SOON) == 8
    assert DataFlowKernelLoader._dfk is None
    assert kernel.cleanup_called


def test_load_without_a_config_runs_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with parsl.load() as kernel:
        assert double(4).result(timeout=SOON) == 8
        assert list(kernel.executors) == ["threads", "_parsl_internal"]
    assert (tmp_path / "runinfo" / "000" / "parsl.log").is_file()


def test_a_second_load_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        with pytest.raises(ConfigurationError, match="loaded already"):
            parsl.load(threads_config(tmp_path))
        assert parsl.dfk() is kernel
        assert double(1).result(timeout=SOON) == 2


def test_clear_forgets_the_kernel_without_ending_it(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        parsl.clear()
        with pytest.raises(NoDataFlowKernelError):
            double(1)
        assert not kernel.cleanup_called
        assert python_app(double.func, data_flow_kernel=kernel)(1).result(timeout=SOON) == 2


def test_load_again_after_cleanup_even_when_the_first_runs_folder_is_gone(tmp_path: Path) -> None:
    with loaded(tmp_path / "runs") as first:
        assert double(1).result(timeout=SOON) == 2
    for folder, _, files in os.walk(tmp_path / "runs", topdown=False):
        for file in files:
            os.unlink(os.path.join(folder, file))
        os.rmdir(folder)
    with loaded(tmp_path / "runs") as second:
        assert double(1).result(timeout=SOON) == 2
    assert first.run_dir == second.run_dir
    assert first.run_id != second.run_id


def test_run_folders_are_numbered(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        with loaded(tmp_path) as kernel:
            names.append(Path(kernel.run_dir))
    assert names == [tmp_path / "000", tmp_path / "001"]
    assert (tmp_path / "000" / "parsl.log").read_text().startswith("1")


def test_names_that_libraries_take_from_the_kernels_module() -> None:
    from parsl.dataflow import dflow

    for name in ("DataFlowKernel", "DataFlowKernelLoader", "make_rundir", "Config", "AppFuture"):
        assert hasattr(dflow, name)


# -- several kernels --------------------------------------------------------------------------------------------------


def test_several_kernels_in_one_process_share_futures(tmp_path: Path) -> None:
    with DataFlowKernel(threads_config(tmp_path)) as one, DataFlowKernel(threads_config(tmp_path)) as two:
        assert DataFlowKernelLoader._dfk is None
        here = python_app(double.func, data_flow_kernel=one)
        there = python_app(double.func, data_flow_kernel=two)
        future: Any = here(1)
        for app in (there, here) * 10:
            future = app(future)
        assert future.result(timeout=SOON) == 2**21
        assert (one.task_count, two.task_count) == (11, 10)
        assert one.run_dir != two.run_dir


def test_a_failure_crosses_kernels(tmp_path: Path) -> None:
    with DataFlowKernel(threads_config(tmp_path)) as one, DataFlowKernel(threads_config(tmp_path)) as two:
        broken = python_app(double.func, data_flow_kernel=one)(None)
        error = python_app(double.func, data_flow_kernel=two)(broken).exception(timeout=SOON)
        assert isinstance(error, DependencyError)
        assert isinstance(error.__cause__, TypeError)
        assert "task 0" in str(error)


def test_one_kernel_ends_and_the_others_go_on(tmp_path: Path) -> None:
    kernels = [DataFlowKernel(threads_config(tmp_path)) for _ in range(3)]
    for kernel in kernels:
        assert python_app(double.func, data_flow_kernel=kernels[-1])(1).result(timeout=SOON) == 2
        kernel.cleanup()


def test_twenty_kernels_leave_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    with loaded(tmp_path):
        double(1).result(timeout=SOON)
    process = psutil.Process()
    threads, descriptors = set(threading.enumerate()), process.num_fds()
    for _ in range(20):
        with loaded(tmp_path):
            futures = [double(i) for i in range(5)]
            futures[0].add_done_callback(lambda _: None)
            assert [f.result(timeout=SOON) for f in futures] == [0, 2, 4, 6, 8]
    left = set(threading.enumerate()) - threads
    for thread in left:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in left)
    assert process.num_fds() == descriptors


def test_a_config_can_be_used_again(tmp_path: Path) -> None:
    config = threads_config(tmp_path)
    text = str(config)
    for _ in range(3):
        with parsl.load(config):
            assert str(config) == text
            assert [double(i).result(timeout=SOON) for i in range(3)] == [0, 2, 4]
    assert str(config) == text


def test_an_executor_is_of_one_kernel_at_a_time(kernel: DataFlowKernel) -> None:
    with pytest.raises(ConfigurationError, match="'threads' is running already"):
        DataFlowKernel(kernel.config)
    assert double(1).result(timeout=SOON) == 2


def test_a_config_may_change_until_it_is_loaded(tmp_path: Path) -> None:
    config = threads_config(tmp_path / "no")
    config.run_dir = str(tmp_path / "yes")
    config.retries = 1
    config.executors[0].label = "renamed"
    attempts: list[int] = []

    @python_app(executors=["renamed"])
    def twice() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError
        return len(attempts)

    with parsl.load(config) as kernel:
        assert kernel.run_dir == str(tmp_path / "yes" / "000")
        assert twice().result(timeout=SOON) == 2


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["a path", {"retries": 1}, [], Config, 3], ids=lambda w: type(w).__name__)
def test_what_is_no_config_is_refused_by_name(wrong: Any) -> None:
    for make in (parsl.load, DataFlowKernel):
        with pytest.raises(TypeError, match="DataFlowKernel: parameter 'config' takes Config"):
            make(wrong)
    assert DataFlowKernelLoader._dfk is None


def test_a_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"No run folder can be made in .*file/runs"):
        parsl.load(threads_config(tmp_path / "file" / "runs"))
    with loaded(tmp_path):
        assert double(1).result(timeout=SOON) == 2


class Broken(ThreadPoolExecutor):
    """An executor whose start fails."""

    def start(self) -> None:
        raise OSError("no such cluster")


def test_an_executor_that_does_not_start_leaves_nothing_behind(tmp_path: Path) -> None:
    good = ThreadPoolExecutor(label="good")
    with pytest.raises(OSError, match="no such cluster"):
        parsl.load(threads_config(tmp_path, executors=[good, Broken(label="broken")]))
    assert DataFlowKernelLoader._dfk is None
    with pytest.raises(ExecutorShutDownError):
        good.submit(len, {}, "x")


@pytest.mark.parametrize("label", ["threads", "_parsl_internal"])
def test_labels_are_unique(kernel: DataFlowKernel, label: str) -> None:
    with pytest.raises(ConfigurationError, match=f"label '{label}' already"):
        kernel.add_executors([ThreadPoolExecutor(label=label)])
    assert double(1).result(timeout=SOON) == 2


def test_executors_can_be_added_later(kernel: DataFlowKernel) -> None:
    later = ThreadPoolExecutor(label="later", max_threads=1)
    kernel.add_executors([later])
    where = python_app(lambda: threading.current_thread().name, executors=["later"])
    assert where().result(timeout=SOON) == "later_0"
    assert kernel.executors["later"] is later
    assert (later.run_dir, later.run_id) == (kernel.run_dir, kernel.run_id)


@pytest.mark.parametrize("executors", [["nowhere"], ["threads", "nowhere"], [], "threads", None])
def test_an_executor_that_there_is_not_is_refused_at_the_call(kernel: DataFlowKernel, executors: Any) -> None:
    with pytest.raises(ValueError, match="Task 0"):
        kernel.submit(len, ("x",), executors=executors)
    assert kernel.tasks == {}
