from __future__ import annotations

import pickle

from parsl.errors import ParslError
from parsl.launchers.errors import BadLauncher
from parsl.providers.errors import ExecutionProviderException


def test_bad_launcher_names_what_it_got() -> None:
    error = BadLauncher("srun")
    assert isinstance(error, (ExecutionProviderException,))
    assert isinstance(error, TypeError)
    assert isinstance(error, ParslError)
    assert "str: 'srun'" in str(error)
    assert error.launcher == "srun"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
