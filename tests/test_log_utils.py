from __future__ import annotations

import io
import itertools
import logging
import pathlib
import re
from collections.abc import Iterator

import pytest

from parsl.log_utils import attach_handler, set_file_logger, set_stream_logger

NAME = "parsl.test_log_utils"


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """A logger below a parent at WARNING, found as it was left."""
    parent, logger = logging.getLogger("parsl"), logging.getLogger(NAME)
    before = parent.level
    parent.setLevel(logging.WARNING)
    yield logger
    assert (logger.level, logger.handlers) == (logging.NOTSET, [])
    parent.setLevel(before)


def test_stream_logger_writes_until_undone(logger: logging.Logger) -> None:
    stream = io.StringIO()
    undo = set_stream_logger(NAME, stream=stream)
    logger.debug("first %s", 1)
    undo()
    logger.error("second")
    assert re.fullmatch(rf"\d+-\d+-\d+ [\d:,]+ {NAME}:\d+ \[DEBUG\]  first 1\n", stream.getvalue())
    assert not stream.closed


def test_stream_logger_takes_format_and_level(logger: logging.Logger) -> None:
    stream = io.StringIO()
    undo = set_stream_logger(NAME, logging.INFO, "<%(message)s>", stream)
    logger.debug("no")
    logger.info("yes")
    undo()
    assert stream.getvalue() == "<yes>\n"


def test_stream_logger_writes_to_standard_error(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    undo = set_stream_logger(NAME)
    logger.info("to stderr")
    undo()
    out, err = capsys.readouterr()
    assert out == ""
    assert "to stderr" in err


def test_stream_logger_is_for_parsl_unless_told_otherwise() -> None:
    stream = io.StringIO()
    undo = set_stream_logger(stream=stream)
    logging.getLogger("parsl.somewhere").debug("heard")
    logging.getLogger("elsewhere").error("not heard")
    undo()
    assert "heard" in stream.getvalue()
    assert "not heard" not in stream.getvalue()


def test_file_logger_appends_lines_that_begin_with_the_time(logger: logging.Logger, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run.log"
    path.write_text("1.5 old\n")
    undo = set_file_logger(path, NAME)
    logger.debug("grüße")
    handler = logger.handlers[0]
    undo()
    assert isinstance(handler, logging.FileHandler)
    assert handler.stream is None  # closed
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [float(line.split()[0]) > 1 for line in lines] == [True, True]
    assert lines[1].endswith("test_file_logger_appends_lines_that_begin_with_the_time DEBUG: grüße")


def test_file_logger_in_a_folder_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        set_file_logger(tmp_path / "nowhere" / "run.log", NAME)


def test_undoing_twice_is_undoing_once(logger: logging.Logger) -> None:
    first, second = set_stream_logger(NAME, stream=io.StringIO()), set_stream_logger(NAME, stream=io.StringIO())
    first()
    first()
    assert len(logger.handlers) == 1
    second()


def test_the_level_is_that_of_the_lowest_handler_or_the_logger_itself(logger: logging.Logger) -> None:
    undo = set_stream_logger(NAME, logging.INFO, stream=io.StringIO())
    assert logger.level == logging.INFO
    undo()
    logger.setLevel(logging.DEBUG)
    undo = set_stream_logger(NAME, logging.INFO, stream=io.StringIO())
    assert logger.level == logging.DEBUG
    undo()
    assert logger.level == logging.DEBUG
    logger.setLevel(logging.NOTSET)


def test_a_debug_level_of_the_host_stays_effective(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="parsl"):
        undo = set_stream_logger(NAME, logging.ERROR, stream=io.StringIO())
        logger.debug("for the host")
        undo()
    assert "for the host" in caplog.text


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_several_handlers_can_go_in_any_order(logger: logging.Logger, order: tuple[int, ...]) -> None:
    levels = [logging.INFO, logging.DEBUG, logging.ERROR]
    undos = [set_stream_logger(NAME, level, stream=io.StringIO()) for level in levels]
    left = dict(enumerate(levels))
    for number in order:
        assert logger.getEffectiveLevel() == min(logging.WARNING, *left.values())
        undos[number]()
        del left[number]
    assert logger.level == logging.NOTSET


def test_a_level_that_somebody_sets_meanwhile_is_kept(logger: logging.Logger) -> None:
    undo = set_stream_logger(NAME, logging.DEBUG, stream=io.StringIO())
    logger.setLevel(logging.ERROR)
    undo()
    assert logger.level == logging.ERROR
    logger.setLevel(logging.NOTSET)


def test_a_handler_for_everything_gets_everything(logger: logging.Logger) -> None:
    stream = io.StringIO()
    undo = attach_handler(NAME, logging.StreamHandler(stream))
    logger.log(1, "whisper")
    undo()
    assert stream.getvalue() == "whisper\n"
