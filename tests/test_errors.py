from __future__ import annotations

import pickle

import pytest

from parsl import errors


@pytest.mark.parametrize(
    "cls",
    [
        errors.ConfigurationError,
        errors.InternalConsistencyError,
        errors.NoDataFlowKernelError,
        errors.OptionalModuleMissing,
    ],
)
def test_every_error_is_a_parsl_error(cls: type[Exception]) -> None:
    assert cls.__bases__ == (errors.ParslError,)
    assert errors.ParslError.__bases__ == (Exception,)


def test_missing_modules_are_named_with_the_reason() -> None:
    error = errors.OptionalModuleMissing(["pandas", "flask"], "The pages need them.")
    assert str(error) == "Optional modules are missing: pandas, flask. The pages need them."
    assert error.module_names == ["pandas", "flask"]
    assert error.reason == "The pages need them."


def test_a_single_name_is_not_taken_for_letters() -> None:
    assert "missing: boto3." in str(errors.OptionalModuleMissing("boto3", "For AWS."))


def test_missing_modules_survive_pickling() -> None:
    error = errors.OptionalModuleMissing(["pandas"], "The pages need it.")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.module_names == ["pandas"]
