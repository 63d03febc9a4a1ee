"""Run tests with the Python of a virtual environment that has an engine's library; ours has the rest."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Behind what is there, which is what the engine's own processes use.
    sys.path.append(os.environ["PARSL_TEST_PACKAGES"])
    import pytest

    code = pytest.main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of an engine may never end.
    os._exit(code)
