"""The errors of apps: their texts, and how they and other exceptions cross processes."""

from __future__ import annotations

import pickle
import sys
import traceback

import pytest

from parsl.app.errors import (
    AppBadFormatting,
    AppException,
    AppTimeout,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
    RemoteExceptionWrapper,
    UnpicklableException,
    wrap_error,
)
from parsl.data_provider.files import File
from parsl.errors import ParslError

INSTANCES = [
    AppException("an app failed"),
    BashExitFailure("tar", 127),
    AppTimeout("walltime of 1 s is over"),
    BashAppNoReturn("bash_app tar returned None instead of a command line."),
    MissingOutputs("bash_app tar ended well but made no such files.", ["a.txt", "b.txt"]),
    BadStdStreamFile("stdout=3 is neither a path nor a pair."),
    AppBadFormatting("bash_app tar: no value for {x}."),
    UnpicklableException("m.Odd", "Odd(1)", "it can't be pickled", "Traceback ..."),
]


@pytest.mark.parametrize("error", INSTANCES, ids=lambda e: type(e).__name__)
def test_an_error_survives_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert str(copy) == str(error) != ""
    assert isinstance(copy, ParslError)


def test_the_hierarchy() -> None:
    for cls in (BashExitFailure, AppTimeout, BashAppNoReturn, UnpicklableException):
        assert issubclass(cls, AppException)
    for cls in (MissingOutputs, BadStdStreamFile, AppBadFormatting):
        assert not issubclass(cls, AppException)


def test_a_bash_failure_says_what_it_knows() -> None:
    error = BashExitFailure(app_name="tar", exitcode=2)
    assert str(error) == "bash_app tar failed with unix exit code 2"
    error.command = "tar xf a.tar"
    error.stdout_path = "/r/tar.stdout"
    error.stderr_path = "/r/tar.stderr"
    error.stderr_tail = "tar: a.tar: No such file\n"
    assert str(error).splitlines() == [
        "bash_app tar failed with unix exit code 2",
        "command: tar xf a.tar",
        "stdout: /r/tar.stdout",
        "stderr: /r/tar.stderr",
        "the end of stderr:",
        "tar: a.tar: No such file",
    ]
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.app_name, copy.exitcode, copy.command) == ("tar", 2, "tar xf a.tar")


def test_missing_outputs_names_remote_files_too() -> None:
    error = MissingOutputs("They are not there.", [File("https://example.org/x"), "y"])
    assert "https://example.org/x" in str(error)
    assert "'y'" in str(error)


@wrap_error
def divide(a: int, *, by: int) -> float:
    """Divide."""
    return a / by


def test_wrap_error_passes_results_and_keeps_the_name() -> None:
    assert divide(6, by=2) == 3
    assert divide.__name__ == "divide"
    assert divide.__doc__ == "Divide."


def test_wrap_error_returns_the_exception() -> None:
    wrapper = divide(1, by=0)
    assert isinstance(wrapper, RemoteExceptionWrapper)
    exception = wrapper.get_exception()
    assert type(exception) is ZeroDivisionError
    assert [f.name for f in traceback.extract_tb(exception.__traceback__)] == ["divide"]
    assert "ZeroDivisionError" in repr(wrapper)
    assert "ZeroDivisionError" in repr(pickle.loads(pickle.dumps(wrapper)))


def test_wrap_error_reports_a_wrong_call() -> None:
    wrapper = divide(1, 2, 3)  # type: ignore[call-arg, arg-type, misc]
    assert isinstance(wrapper, RemoteExceptionWrapper)
    with pytest.raises(TypeError, match="positional"):
        wrapper.reraise()


@pytest.mark.parametrize("cls", [SystemExit, KeyboardInterrupt])
def test_wrap_error_lets_through_what_ends_a_process(cls: type[BaseException]) -> None:
    @wrap_error
    def stop() -> None:
        raise cls

    with pytest.raises(cls):
        stop()


def test_within_a_process_the_very_exception_is_kept() -> None:
    error = ValueError(lambda: "not picklable by name")
    wrapper = RemoteExceptionWrapper(type(error), error, None)
    assert wrapper.get_exception() is error
    pickle.dumps(wrapper)
    assert wrapper.get_exception() is error


def test_a_missing_value_is_made_from_the_class() -> None:
    assert type(RemoteExceptionWrapper(KeyError, None, None).get_exception()) is KeyError


def test_reraise_shows_the_remote_frames_each_time() -> None:
    def fails() -> None:
        raise KeyError("k")

    try:
        fails()
    except KeyError:
        wrapper = pickle.loads(pickle.dumps(RemoteExceptionWrapper(*sys.exc_info())))
    assert wrapper.get_exception() is wrapper.get_exception()
    depths = []
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            wrapper.reraise()
        names = [f.name for f in traceback.extract_tb(caught.value.__traceback__)]
        assert names[-1] == "fails"
        depths.append(len(names))
    assert depths[0] == depths[1]


def test_a_wrapper_can_be_passed_on_by_a_process_that_never_opens_it() -> None:
    wrapper = divide(1, by=0)
    relayed = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(wrapper))))
    assert type(relayed.get_exception()) is ZeroDivisionError
    opened = pickle.loads(pickle.dumps(relayed)).get_exception()
    assert [f.name for f in traceback.extract_tb(opened.__traceback__)] == ["divide"]
