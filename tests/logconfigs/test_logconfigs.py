from __future__ import annotations

import io
import json
import logging
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.logconfigs.base import LogConfig, oneshot_initialize_logging, oneshot_uninitialize_logging
from parsl.logconfigs.file import FileLogging
from parsl.logconfigs.json import JSONHandler, JSONLogging
from parsl.logconfigs.noop import NoopLogging
from parsl.utils import RepresentationMixin

logger = logging.getLogger("parsl.test_logconfigs")


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    top = logging.getLogger("parsl")
    before = (top.level, list(top.handlers), psutil.Process().num_fds())
    yield
    assert (top.level, list(top.handlers), psutil.Process().num_fds()) == before


def objects(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ALL: list[LogConfig] = [
    FileLogging(),
    FileLogging("%(message)s", logging.ERROR),
    JSONLogging(),
    JSONLogging(1),
    NoopLogging(),
]


@pytest.mark.parametrize("config", ALL, ids=repr)
def test_settings_travel(config: LogConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepresentationMixin, "_validate_repr", True)
    copy = pickle.loads(pickle.dumps(config))
    assert type(copy) is type(config)
    assert vars(copy) == vars(config)
    assert repr(copy) == repr(config)


@pytest.mark.parametrize("config", ALL, ids=repr)
def test_a_config_can_travel_after_use(config: LogConfig, tmp_path: pathlib.Path) -> None:
    undo = config.initialize_logging(str(tmp_path), "run")
    pickle.dumps(config)
    undo()


def test_what_every_way_has_to_offer_is_abstract() -> None:
    with pytest.raises(TypeError, match="initialize_logging"):
        LogConfig()  # type: ignore[abstract]


def test_file_logging(tmp_path: pathlib.Path) -> None:
    undo = FileLogging().initialize_logging(str(tmp_path / "new" / "folder"), "parsl")
    logger.debug("kept")
    undo()
    logger.error("not kept")
    (line,) = (tmp_path / "new" / "folder" / "parsl.log").read_text().splitlines()
    assert line.endswith("DEBUG: kept")
    assert float(line.split()[0]) > 1e9


def test_file_logging_with_level_and_format(tmp_path: pathlib.Path) -> None:
    undo = FileLogging(format_string="%(levelname)s|%(message)s", level=logging.INFO).initialize_logging(
        str(tmp_path), "x"
    )
    logger.debug("no")
    logger.info("yes")
    undo()
    assert (tmp_path / "x.log").read_text() == "INFO|yes\n"


def test_json_logging(tmp_path: pathlib.Path) -> None:
    undo = JSONLogging().initialize_logging(str(tmp_path / "folder"), "parsl")
    logger.info("task %s of %d", "a", 3, extra={"parsl.task": 7, "parsl.executor": "htex", "other": "left out"})
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("two\nlines")
    undo()
    logger.error("not kept")
    first, second = objects(tmp_path / "folder" / "parsl.jsonlog")
    assert first["msg"] == "task a of 3"
    assert (first["parsl.task"], first["parsl.executor"]) == (7, "htex")
    assert (first["levelname"], first["name"]) == ("INFO", "parsl.test_logconfigs")
    assert first["created"] > 1e9
    assert first["process"] == psutil.Process().pid
    assert first["threadName"] == "MainThread"
    assert "other" not in first
    assert "exc_info" not in first
    assert second["msg"] == "two\nlines"
    assert second["exc_info"].startswith("Traceback")
    assert second["exc_info"].endswith("KeyError: 'lost'")


def test_json_logging_respects_its_level(tmp_path: pathlib.Path) -> None:
    undo = JSONLogging(level=logging.WARNING).initialize_logging(str(tmp_path), "parsl")
    logger.info("no")
    logger.warning("yes")
    undo()
    assert [each["msg"] for each in objects(tmp_path / "parsl.jsonlog")] == ["yes"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(pathlib.Path("p")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.tuples(st.integers()), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(VALUES, st.text())
def test_any_value_makes_one_line_of_json(value: object, text: str) -> None:
    stream = io.StringIO()
    handler = JSONHandler("/dev/null")
    handler._file.close()
    handler._file = stream  # type: ignore[assignment]
    record = logging.makeLogRecord({"msg": text, "parsl.value": value})
    handler.emit(record)
    (line,) = stream.getvalue().split("\n")[:-1]
    kept = json.loads(line, parse_constant=pytest.fail)["parsl.value"]
    if isinstance(value, (str, int, bool, type(None))):
        assert kept == value
    if isinstance(value, bytes):
        assert kept == str(value)
    handler.close()


def test_a_value_that_has_no_text_is_reported_and_not_raised(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    undo = JSONLogging().initialize_logging(str(tmp_path), "parsl")
    logger.info("before", extra={"parsl.value": Mute()})
    logger.info("after")
    undo()
    assert [each["msg"] for each in objects(tmp_path / "parsl.jsonlog")] == ["after"]
    assert "no words" in capsys.readouterr().err


def test_json_handler_takes_a_level_like_any_handler(tmp_path: pathlib.Path) -> None:
    handler = JSONHandler(tmp_path / "x", logging.ERROR)
    assert handler.level == logging.ERROR
    handler.close()
    handler.close()
    with pytest.raises(FileNotFoundError):
        JSONHandler(tmp_path / "nowhere" / "x")


def test_noop_logging_touches_nothing(tmp_path: pathlib.Path) -> None:
    undo = NoopLogging().initialize_logging(str(tmp_path / "folder"), "parsl")
    logger.error("gone")
    undo()
    undo()
    assert list(tmp_path.iterdir()) == []


class Counting(LogConfig):
    def __init__(self) -> None:
        self.events: list[str] = []

    def initialize_logging(self, log_dir: str, log_name: str) -> Callable[[], None]:
        self.events.append(f"{log_dir}/{log_name}")
        return lambda: self.events.append("undone")


def test_oneshot_happens_once_for_each_log() -> None:
    config, other = Counting(), Counting()
    for name in ("a", "a", "b"):
        oneshot_initialize_logging(config, "dir", name)
    oneshot_initialize_logging(other, "dir", "a")
    assert config.events == ["dir/a", "dir/b"]
    oneshot_uninitialize_logging(config)
    oneshot_uninitialize_logging(config)
    assert config.events == ["dir/a", "dir/b", "undone", "undone"]
    assert other.events == ["dir/a"]
    oneshot_initialize_logging(config, "dir", "a")
    assert config.events[-1] == "dir/a"
    oneshot_uninitialize_logging(config)
    oneshot_uninitialize_logging(other)


def test_oneshot_true_is_a_text_file_at_info(tmp_path: pathlib.Path) -> None:
    oneshot_initialize_logging(True, str(tmp_path), "worker")
    oneshot_initialize_logging(True, str(tmp_path), "worker")
    logger.debug("no")
    logger.info("yes")
    oneshot_uninitialize_logging(True)
    (line,) = (tmp_path / "worker.log").read_text().splitlines()
    assert line.endswith("INFO: yes")


@pytest.mark.parametrize("nothing", [False, None])
def test_oneshot_nothing(nothing: bool | None, tmp_path: pathlib.Path) -> None:
    oneshot_initialize_logging(nothing, str(tmp_path / "folder"), "worker")
    oneshot_uninitialize_logging(nothing)
    assert list(tmp_path.iterdir()) == []


def test_undoing_what_never_began() -> None:
    oneshot_uninitialize_logging(FileLogging())


CHILD = """
import logging, pickle, sys
from parsl.logconfigs.base import oneshot_initialize_logging
oneshot_initialize_logging(pickle.load(sys.stdin.buffer), sys.argv[1], "child")
logging.getLogger("parsl.child").info("from %s", "a child", extra={"parsl.task": 1})
"""


def test_oneshot_in_another_process(tmp_path: pathlib.Path) -> None:
    folder = str(tmp_path / "logs")
    subprocess.run([sys.executable, "-c", CHILD, folder], input=pickle.dumps(JSONLogging()), check=True, timeout=60)
    (record,) = objects(tmp_path / "logs" / "child.jsonlog")
    assert (record["msg"], record["parsl.task"]) == ("from a child", 1)
