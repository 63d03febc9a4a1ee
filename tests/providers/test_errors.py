from __future__ import annotations

import pickle

import pytest

from parsl.errors import ParslError
from parsl.providers.errors import (
    ExecutionProviderException,
    ScaleOutFailed,
    SchedulerMissingArgs,
    ScriptPathError,
    SubmitException,
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ScaleOutFailed("slurm", "no quota"), "Unable to add a block with provider slurm: no quota"),
        (
            SchedulerMissingArgs(["queue", "account"], "here"),
            "Provider here needs arguments that it did not get: queue, account",
        ),
        (SchedulerMissingArgs("queue", "here"), "Provider here needs arguments that it did not get: queue"),
        (ScriptPathError("/a/b.sh", OSError("disk full")), "Unable to write the block's script /a/b.sh: disk full"),
        (SubmitException("block0", "refused"), "Cannot launch job block0: refused"),
        (
            SubmitException("block0", "refused", stdout="\n", stderr="no such queue\n", retcode=1),
            "Cannot launch job block0: refused; exit code 1; stderr: no such queue",
        ),
    ],
)
def test_text_and_pickling(error: ExecutionProviderException, text: str) -> None:
    assert isinstance(error, ExecutionProviderException)
    assert isinstance(error, ParslError)
    assert str(error) == text
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == text


def test_attributes_are_kept() -> None:
    error = SubmitException("name", "why", stdout="out", stderr="err", retcode=3)
    assert (error.job_name, error.task_name, error.message) == ("name", "name", "why")
    assert (error.stdout, error.stderr, error.retcode) == ("out", "err", 3)
    assert (ScaleOutFailed("p", "r").provider, ScaleOutFailed("p", "r").reason) == ("p", "r")
    assert (ScriptPathError("p", "r").script_path, ScriptPathError("p", "r").reason) == ("p", "r")
    missing = SchedulerMissingArgs(["a"], "site")
    assert (missing.missing_keywords, missing.sitename) == (["a"], "site")
