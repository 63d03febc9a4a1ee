"""The errors of executors: what they say, what they carry, that they travel."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from parsl.errors import ParslError
from parsl.executors import errors
from parsl.executors.errors import (
    BadMessage,
    BadStateException,
    ExecutorError,
    ExecutorShutDownError,
    InvalidResourceSpecification,
    MissingResourceSpecification,
    ScalingFailed,
    UnsupportedFeatureError,
)


class Executor:
    """Stands for an executor: all that an error needs is its label."""

    label = "pool"


EXECUTOR: Any = Executor()
CAUSE = OSError("no such queue")

CASES = {
    ExecutorError(EXECUTOR, "it broke"): "Executor pool failed due to: it broke",
    BadStateException(EXECUTOR, CAUSE): "Executor pool is in a bad state and runs no more tasks: no such queue",
    UnsupportedFeatureError("joining", "pool", "other"): "The joining feature is not supported by executor pool; use "
    "other for it",
    InvalidResourceSpecification({"b", "a"}, "Try cores."): "Invalid resource specification options: ['a', 'b']. Try "
    "cores.",
    InvalidResourceSpecification({"a"}): "Invalid resource specification options: ['a'].",
    MissingResourceSpecification({"b", "a"}, "Give both."): "Missing resource specification: a, b. Give both.",
    ScalingFailed(EXECUTOR, "no quota"): "Executor pool could not be scaled: no quota",
    ScalingFailed("label", "no quota"): "Executor label could not be scaled: no quota",
    BadMessage("too short"): "Received an unexpected message: too short",
    ExecutorShutDownError("pool"): "Executor pool was shut down before the task ended",
}
IDS = [f"{type(e).__name__}-{i}" for i, e in enumerate(CASES)]


@pytest.mark.parametrize(("error", "text"), CASES.items(), ids=IDS)
def test_what_it_says(error: Exception, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, ParslError)


@pytest.mark.parametrize("error", CASES, ids=IDS)
def test_it_travels(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy).keys() == vars(error).keys()


def test_what_they_carry() -> None:
    bad = BadStateException(EXECUTOR, CAUSE)
    assert (bad.executor, bad.exception, bad.__cause__) == (EXECUTOR, CAUSE, CAUSE)
    assert (ExecutorError(EXECUTOR, "r").executor, ExecutorError(EXECUTOR, "r").reason) == (EXECUTOR, "r")
    unsupported = UnsupportedFeatureError("f", "a", "b")
    assert (unsupported.feature, unsupported.current_executor, unsupported.target_executor) == ("f", "a", "b")
    invalid = InvalidResourceSpecification({"x"}, "m")
    assert (invalid.invalid_keys, invalid.message) == ({"x"}, "m")
    assert (ScalingFailed(EXECUTOR, "r").label, ScalingFailed(None, "r").label) == ("pool", None)
    assert BadMessage("r").reason == "r"
    assert ExecutorShutDownError("l").label == "l"


@pytest.mark.parametrize(
    "name", ["BadStateException", "UnsupportedFeatureError", "InvalidResourceSpecification", "ScalingFailed"]
)
def test_they_are_errors_of_an_executor(name: str) -> None:
    assert issubclass(getattr(errors, name), ExecutorError)
