from __future__ import annotations

import inspect
import logging

import pytest

from parsl.process_loggers import wrap_with_logs


@wrap_with_logs
def divide(a: int, b: int = 1) -> float:
    """Divide."""
    return a / b


@wrap_with_logs(target="parsl.elsewhere")
def leave(reason: str) -> None:
    raise SystemExit(reason)


def test_beginning_and_end_are_debug_records(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="parsl.process_loggers"):
        assert divide(6, b=3) == 2
    assert caplog.record_tuples == [
        ("parsl.process_loggers", logging.DEBUG, "divide begins"),
        ("parsl.process_loggers", logging.DEBUG, "divide ends normally"),
    ]


def test_a_failure_is_logged_with_its_traceback_and_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="parsl.process_loggers"), pytest.raises(ZeroDivisionError):
        divide(1, 0)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "divide ends with an exception")
    assert "return a / b" in caplog.text


def test_leaving_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="parsl.elsewhere"), pytest.raises(SystemExit):
        leave("done")
    assert caplog.records == []


def test_the_target_names_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="parsl.elsewhere"), pytest.raises(SystemExit):
        leave("done")
    assert [record.name for record in caplog.records] == ["parsl.elsewhere"]


def test_name_signature_and_docstring_stay() -> None:
    assert divide.__name__ == "divide"
    assert divide.__doc__ == "Divide."
    assert list(inspect.signature(divide).parameters) == ["a", "b"]
