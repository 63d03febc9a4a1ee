"""A stand-in for the command `flux`: `flux start PROGRAM...` runs a program in an instance."""

from __future__ import annotations

import os
import sys

verb, *program = sys.argv[1:]
if verb != "start":
    sys.exit(f"flux: {verb} is not a flux command here")
folder = os.path.dirname(os.path.abspath(__file__))
path = os.environ.get("PYTHONPATH", "")
env = {**os.environ, "FAKE_FLUX": "1", "PYTHONPATH": f"{folder}:{path}" if path else folder}
if os.environ.get("FAKE_FLUX_BROKEN"):
    sys.exit("flux-broker: boot failed: no size can be found")
os.execvpe(program[0], program, env)
