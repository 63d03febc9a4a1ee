"""Run tests with the Python of a virtual environment that has radical.pilot; ours has the rest."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Behind what is there, which is what RADICAL's own processes use.
    sys.path.append(os.environ["PARSL_TEST_PACKAGES"])
    import pytest

    code = pytest.main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of RADICAL may never end.
    os._exit(code)
