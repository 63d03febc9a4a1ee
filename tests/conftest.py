"""What every test of the suite runs under: the leak plug-in, one kernel at a time, strict representations."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from parsl.loop import Loop
from parsl.utils import RepresentationMixin
from tests.loops import ended

pytest_plugins = ("tests.leaks", "pytester")

# Examples run on machines that others use as well: a deadline for one example would measure the neighbours.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Heed ctrl-C, also where the tests run in the background of a shell that has it ignored: children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def strict_representations() -> Iterator[None]:
    """Make `repr` raise AttributeError for a constructor parameter that is not kept under its own name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RepresentationMixin, "_validate_repr", True)
        yield


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop on a thread of its own."""
    loop = Loop("loop-under-test")
    loop.start()
    yield loop
    ended(loop)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def loaded_kernel() -> Any:
    """Return the kernel that is loaded in this process, or None; never imports the kernel's module for it."""
    loader = getattr(sys.modules.get("parsl.dataflow.dflow"), "DataFlowKernelLoader", None)
    return getattr(loader, "_dfk", None)


def discard(kernel: Any) -> str:
    """Clean a forgotten kernel up, so that the next test can load its own; return what went wrong with that."""
    loader = sys.modules["parsl.dataflow.dflow"].DataFlowKernelLoader
    try:
        kernel.cleanup()
    except Exception as error:
        return f" Its cleanup raised {error!r}."
    finally:
        loader._dfk = None
    return ""


def fail_for_kernel(before: Any, who: str) -> None:
    """Fail when a kernel is loaded that was not before."""
    left = loaded_kernel()
    if left is not None and left is not before:
        pytest.fail(f"{who} left a kernel loaded: {left!r}.{discard(left)}", pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def no_kernel_left_by_module(module_ledger: object) -> Iterator[None]:
    """Fail a module whose fixtures leave a kernel loaded."""
    before = loaded_kernel()
    yield
    fail_for_kernel(before, "the fixtures of this module")


@pytest.fixture(autouse=True)
def no_kernel_left(no_leaks: None) -> Iterator[None]:
    """Fail a test that leaves a kernel loaded; ends before the leak check, which then sees what cleanup left."""
    before = loaded_kernel()
    yield
    fail_for_kernel(before, "this test")
