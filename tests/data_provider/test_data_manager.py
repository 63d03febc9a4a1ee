"""DataManager, the Staging hooks and the provider of plain paths."""

from __future__ import annotations

import gc
import inspect
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from parsl.app.futures import DataFuture
from parsl.data_provider import data_manager
from parsl.data_provider.data_manager import DataManager, default_staging
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.files import File
from parsl.data_provider.staging import Staging
from parsl.utils import RepresentationMixin


def manager(storage_access: Sequence[Staging] | None = None) -> DataManager:
    here = SimpleNamespace(storage_access=storage_access, working_dir=None)
    return DataManager(SimpleNamespace(executors={"here": here}))


def app(*args: object) -> str:
    return "app"


class Remote(Staging):
    """Stages `far:` files, in the way that it is told, and notes what it was asked."""

    def __init__(self, *, by_task: bool = False, by_wrapping: bool = False) -> None:
        self.by_task = by_task
        self.by_wrapping = by_wrapping
        self.calls: list[tuple[Any, ...]] = []
        self.transfer: Future[Any] = Future()

    def can_stage_in(self, file: File) -> bool:
        self.calls.append(("can_stage_in", file))
        return file.scheme == "far"

    def can_stage_out(self, file: File) -> bool:
        self.calls.append(("can_stage_out", file))
        return file.scheme == "far"

    def stage_in(self, dm: DataManager, executor: str, file: File, parent_fut: Future[Any] | None) -> DataFuture | None:
        self.calls.append(("stage_in", dm, executor, file, parent_fut))
        file.local_path = "/staged/" + file.filename
        return DataFuture(self.transfer, file) if self.by_task else None

    def stage_out(self, dm: DataManager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        self.calls.append(("stage_out", dm, executor, file, app_fu))
        return self.transfer if self.by_task else None

    def replace_task(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        self.calls.append(("replace_task", dm, executor, file, func))
        return (lambda *args: ("in", file, func(*args))) if self.by_wrapping else None

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        self.calls.append(("replace_task_stage_out", dm, executor, file, func))
        return (lambda *args: ("out", file, func(*args))) if self.by_wrapping else None

    def asked(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.mark.parametrize("argument", [3, "text", None, [File("x")], Future()], ids=lambda a: type(a).__name__)
def test_what_is_not_a_file_passes_untouched(argument: object) -> None:
    provider = Remote()
    assert manager([provider]).optionally_stage_in(argument, app, "here") == (argument, app)
    assert provider.calls == []


def test_a_plain_path_is_passed_as_a_copy() -> None:
    file = File("/data/x.txt")
    staged, func = manager().optionally_stage_in(file, app, "here")
    assert staged == file
    assert staged is not file
    assert func is app


def test_local_path_is_seen_by_the_task_only() -> None:
    file = File("far://host/x.txt")
    provider = Remote()
    staged, _ = manager([provider]).optionally_stage_in(file, app, "here")
    assert staged.filepath == "/staged/x.txt"
    assert file.local_path is None


def test_a_file_that_was_staged_for_another_task_is_staged_anew() -> None:
    file = File("far://host/x.txt")
    file.local_path = "/another/task/x.txt"
    staged, _ = manager([Remote()]).optionally_stage_in(file, app, "here")
    assert staged.local_path == "/staged/x.txt"
    assert file.local_path == "/another/task/x.txt"


def test_a_provider_is_looked_up_once_and_gets_the_same_copy_twice() -> None:
    dm, provider = manager([remote := Remote()]), remote
    staged, _ = dm.optionally_stage_in(File("far:x"), app, "here")
    assert provider.asked() == ["can_stage_in", "stage_in", "replace_task"]
    assert provider.calls[1] == ("stage_in", dm, "here", staged, None)
    assert provider.calls[1][3] is provider.calls[2][3] is staged


def test_the_first_that_says_yes_is_taken() -> None:
    providers = [NoOpFileStaging(), first := Remote(), second := Remote()]
    manager(providers).optionally_stage_in(File("far:x"), app, "here")
    assert first.calls
    assert second.calls == []


def test_a_transfer_task_is_what_the_app_waits_for() -> None:
    provider = Remote(by_task=True)
    staged, func = manager([provider]).optionally_stage_in(File("far:x"), app, "here")
    assert isinstance(staged, DataFuture)
    assert func is app
    provider.transfer.set_result(None)
    assert staged.result(timeout=0).local_path == "/staged/x"


def test_a_wrapped_function_knows_the_file_that_the_app_gets() -> None:
    staged, func = manager([Remote(by_wrapping=True)]).optionally_stage_in(File("far:x"), app, "here")
    kind, file, result = func(staged)
    assert (kind, result) == ("in", "app")
    assert file is staged


@pytest.fixture
def produced() -> DataFuture:
    return DataFuture(Future(), File("far:x"), tid=12)


def test_without_a_transfer_the_producer_is_still_waited_for(produced: DataFuture) -> None:
    provider = Remote(by_wrapping=True)
    staged, func = manager([provider]).optionally_stage_in(produced, app, "here")
    assert provider.calls[1][4] is produced
    assert isinstance(staged, DataFuture)
    assert not staged.done()
    assert staged.tid == 12
    produced.parent.set_result(None)
    file = staged.result(timeout=0)
    assert file.local_path == "/staged/x"
    assert func(file)[1] is file
    assert produced.result(timeout=0) is produced.file_obj
    assert produced.file_obj.local_path is None


def test_without_a_transfer_the_producers_failure_comes_through(produced: DataFuture) -> None:
    staged, _ = manager([Remote()]).optionally_stage_in(produced, app, "here")
    error = ValueError("bad")
    produced.parent.set_exception(error)
    assert staged.exception(timeout=0) is error


def test_a_transfer_takes_the_place_of_the_producer(produced: DataFuture) -> None:
    provider = Remote(by_task=True)
    staged, _ = manager([provider]).optionally_stage_in(produced, app, "here")
    assert staged.parent is provider.transfer


@pytest.mark.parametrize(("by_task", "by_wrapping"), [(True, False), (False, True), (False, False)])
def test_stage_out(by_task: bool, by_wrapping: bool) -> None:
    provider = Remote(by_task=by_task, by_wrapping=by_wrapping)
    dm = manager([provider])
    file, app_fu = File("far:x"), Future[Any]()
    assert dm.stage_out(file, "here", app_fu) is (provider.transfer if by_task else None)
    func = dm.replace_task_stage_out(file, app, "here")
    assert func() == (("out", file, "app") if by_wrapping else "app")
    assert (func is app) == (not by_wrapping)
    assert provider.calls[1] == ("stage_out", dm, "here", file, app_fu)
    assert "stage_in" not in provider.asked()
    assert "can_stage_in" not in provider.asked()


def test_the_two_halves_of_staging_in_can_be_asked_for_alone() -> None:
    provider = Remote(by_wrapping=True)
    dm, file = manager([provider]), File("far:x")
    assert dm.stage_in(file, file, "here") is file
    assert dm.replace_task(file, app, "here")() == ("in", file, "app")
    assert "stage_out" not in provider.asked()


@pytest.mark.parametrize("storage_access", [None, [], [NoOpFileStaging(), Remote()]], ids=["default", "none", "two"])
def test_a_file_that_nobody_takes(storage_access: list[Staging] | None) -> None:
    dm, file = manager(storage_access), File("gopher://h/x")
    asks = [
        lambda: dm.optionally_stage_in(file, app, "here"),
        lambda: dm.stage_in(file, file, "here"),
        lambda: dm.replace_task(file, app, "here"),
        lambda: dm.stage_out(file, "here", Future()),
        lambda: dm.replace_task_stage_out(file, app, "here"),
    ]
    for ask in asks:
        with pytest.raises(ValueError, match="gopher") as caught:
            ask()
        text = str(caught.value)
        assert "gopher://h/x" in text
        assert "'gopher'" in text
        assert "'here'" in text
        asked = default_staging if storage_access is None else storage_access
        assert all(type(provider).__name__ in text for provider in asked)
        assert ("it has none" in text) == (storage_access == [])


def test_default_staging_is_a_list_that_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(default_staging) is list
    assert isinstance(default_staging[0], NoOpFileStaging)
    provider = Remote()
    monkeypatch.setattr(data_manager, "default_staging", [provider])
    manager().optionally_stage_in(File("far:x"), app, "here")
    assert provider.calls


def test_the_default_providers_cover_the_schemes() -> None:
    urls = ["/x", "file:///x", "ftp://h/x", "http://h/x", "https://h/x", "zip:/a.zip/x"]
    found = [type(next(s for s in default_staging if s.can_stage_in(File(url)))).__name__ for url in urls]
    assert found == [
        "NoOpFileStaging",
        "NoOpFileStaging",
        "FTPSeparateTaskStaging",
        "HTTPSeparateTaskStaging",
        "HTTPSeparateTaskStaging",
        "ZipFileStaging",
    ]


# -- what providers ask for -------------------------------------------------------------------------------------------


class Kernel:
    """Notes what is submitted to it."""

    def __init__(self, working_dir: str | None = None) -> None:
        self.executors = {"here": SimpleNamespace(storage_access=None, working_dir=working_dir)}
        self.submitted: list[Any] = []

    def submit(self, func: Any, app_args: Any, **options: Any) -> str:
        self.submitted.append((func, app_args, options))
        return "future"


def test_a_transfer_is_a_task_whose_files_are_left_alone() -> None:
    dm, after = DataManager(kernel := Kernel()), Future[Any]()
    assert dm.run(app, 1, 2, executor="here") == "future"
    dm.run(app, 1, executor="here", after=after)
    options = {"executors": ["here"], "app_kwargs": {"_parsl_staging_inhibit": True}}
    assert kernel.submitted == [(app, (1, 2), options), (app, (1, after), options)]


def test_a_transfer_that_is_under_way_is_shared() -> None:
    dm = DataManager(kernel := Kernel())
    futures: list[Future[Any]] = []

    def submit(*args: Any, **options: Any) -> Future[Any]:
        futures.append(Future())
        return futures[-1]

    kernel.submit = submit  # type: ignore[assignment]
    first = dm.run(app, executor="here", shared_as="x")
    assert dm.run(app, executor="here", shared_as="x") is first
    assert dm.run(app, executor="here", shared_as="y") is not first
    assert dm.run(app, executor="here") is not first
    first.set_result(None)
    second = dm.run(app, executor="here", shared_as="x")
    assert second is not first
    assert dm.run(app, executor="here", shared_as="x") is second
    assert len(futures) == 4
    futures.clear()
    del first, second
    gc.collect()
    assert not dm._under_way


@pytest.mark.parametrize(("working_dir", "begin"), [(None, ""), ("/work", "/work/")])
def test_each_url_has_its_place(working_dir: str | None, begin: str) -> None:
    dm = DataManager(Kernel(working_dir))
    urls = ["http://a/x.csv", "http://b/x.csv", "http://b/x.csv?y", "http://a/y.csv"]
    places = [dm.place(File(url), "here") for url in urls]
    assert places[0] == f"{begin}x.csv"
    assert places[3] == f"{begin}y.csv"
    assert len(set(places)) == 4
    assert all(place.startswith(begin) and place.endswith(".csv") for place in places)
    assert [dm.place(File(url), "here") for url in reversed(urls)] == places[::-1]


@pytest.mark.parametrize("url", ["http://h/", "http://h", "http://h/a/..", "http://h/a/."])
def test_a_url_without_a_name_has_no_place(url: str) -> None:
    with pytest.raises(ValueError, match="ends in no name of a file"):
        DataManager(Kernel()).place(File(url), "here")


def test_each_thread_asks_for_a_task_of_its_own() -> None:
    dm, seen = manager(), []
    dm.asking(1, "f")

    def other() -> None:
        seen.append(dm.asker())
        dm.asking(2, "g")
        seen.append(dm.asker())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == ["a task", "task 2 (g)"]
    assert dm.asker() == "task 1 (f)"


def test_what_providers_keep_is_closed_once() -> None:
    dm, closed = manager(), []
    dm.when_closed(lambda: closed.append(1))
    dm.when_closed(lambda: closed.append(2))
    dm.close()
    dm.close()
    assert sorted(closed) == [1, 2]


def test_the_kernel_is_kept() -> None:
    kernel = SimpleNamespace(executors={})
    assert DataManager(kernel).dfk is kernel


def test_the_noop_provider_takes_paths_and_moves_nothing() -> None:
    provider = NoOpFileStaging()
    assert isinstance(provider, RepresentationMixin)
    assert repr(provider) == "NoOpFileStaging()"
    assert provider.can_stage_in(File("/x"))
    assert provider.can_stage_out(File("file:///x"))
    assert not provider.can_stage_in(File("http://h/x"))
    assert not provider.can_stage_out(File("http://h/x"))


def test_the_default_hooks_do_nothing() -> None:
    staging, dm, file = Staging(), manager(), File("/x")
    assert staging.can_stage_in(file) is False
    assert staging.can_stage_out(file) is False
    assert staging.stage_in(dm, "here", file, None) is None
    assert staging.stage_out(dm, "here", file, Future()) is None
    assert staging.replace_task(dm, "here", file, app) is None
    assert staging.replace_task_stage_out(dm, "here", file, app) is None


def test_the_hooks_have_the_parameters_of_the_interface() -> None:
    def names(name: str) -> list[str]:
        return list(inspect.signature(getattr(Staging, name)).parameters)

    assert names("can_stage_in") == names("can_stage_out") == ["self", "file"]
    assert names("stage_in") == ["self", "dm", "executor", "file", "parent_fut"]
    assert names("stage_out") == ["self", "dm", "executor", "file", "app_fu"]
    assert names("replace_task") == names("replace_task_stage_out") == ["self", "dm", "executor", "file", "func"]
