"""`python -m parsl.doctor` is the command `parsl-doctor`."""

from __future__ import annotations

import sys

from parsl.doctor.command import main

if __name__ == "__main__":
    sys.exit(main())
