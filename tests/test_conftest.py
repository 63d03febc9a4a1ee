"""What the suite's conftest gives to every test: strict representations, and no kernel handed on to the next test."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsl.utils import RepresentationMixin

ROOT = Path(__file__).parent.parent


class Forgetful(RepresentationMixin):
    """Does not keep what it was given."""

    def __init__(self, size: int) -> None:
        self.length = size


def test_representations_are_strict():
    with pytest.raises(AttributeError, match="size"):
        repr(Forgetful(3))


def test_kernel_left_loaded_fails_its_test_only(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    pytester.makepyfile("""
        import parsl
        from parsl.dataflow.dflow import DataFlowKernelLoader

        def config(tmp_path):
            return parsl.Config(executors=[parsl.ThreadPoolExecutor()], run_dir=str(tmp_path))

        def test_forgets(tmp_path):
            parsl.load(config(tmp_path))

        def test_next(tmp_path):
            assert DataFlowKernelLoader._dfk is None
            with parsl.load(config(tmp_path)):
                pass
    """)
    result = pytester.runpytest_subprocess("-p", "tests.conftest")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_forgets *", "this test left a kernel loaded: *"])


def test_kernel_of_a_module_is_judged_at_the_modules_end(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    pytester.makepyfile("""
        import parsl, pytest

        @pytest.fixture(scope="module")
        def kernel(tmp_path_factory):
            run_dir = str(tmp_path_factory.mktemp("runs"))
            return parsl.load(parsl.Config(executors=[parsl.ThreadPoolExecutor()], run_dir=run_dir))

        def test_one(kernel):
            assert parsl.dfk() is kernel

        def test_two(kernel):
            assert parsl.dfk() is kernel
    """)
    result = pytester.runpytest_subprocess("-p", "tests.conftest")
    result.assert_outcomes(passed=2, errors=1)
    told = "the fixtures of this module left a kernel loaded: *"
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_two *", told])
