from __future__ import annotations

import pytest

from parsl.executors.high_throughput.messages import OLDEST_PROTOCOL, PROTOCOL_VERSION
from parsl.executors.high_throughput.versions import mismatch
from tests.executors.high_throughput.broker_fakes import PARSL, PYTHON, register


@pytest.mark.parametrize("protocol", range(OLDEST_PROTOCOL, PROTOCOL_VERSION + 1))
@pytest.mark.parametrize("python", [PYTHON, "3.12.0", "3.12.99"])
def test_what_fits(protocol, python):
    assert mismatch(register(protocol=protocol, python=python), PYTHON, "another") is None


@pytest.mark.parametrize(
    ("protocol", "older"),
    [(OLDEST_PROTOCOL - 1, "the manager's is the older one"), (PROTOCOL_VERSION + 1, "the submitting side's is")],
)
def test_another_protocol(protocol, older):
    said = mismatch(register(protocol=protocol), PYTHON, PARSL)
    assert f"protocol {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}; manager on node: parsl" in said
    assert f"protocol {protocol} " in said
    assert older in said


@pytest.mark.parametrize("python", ["3.11.4", "2.12.4", "3.9"])
def test_another_python(python):
    said = mismatch(register(python=python), PYTHON, PARSL)
    assert f"Python {PYTHON}" in said
    assert f"Python {python}" in said
