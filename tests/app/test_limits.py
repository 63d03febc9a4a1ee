"""The worker's side of Python apps; what users see of it is in test_python.py."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_a_limit_in_a_thread_leaves_the_interpreter_as_it_was():
    # An exception for another thread that is taken back leaves CPython 3.11 looking for it at every step of the
    # process, and in an endless loop as soon as something is profiled.
    script = """
        import sys, threading
        from parsl.app.limits import timeout

        thread = threading.Thread(target=timeout(lambda: 1, 60))
        thread.start()
        thread.join()
        sys.setprofile(lambda *_: None)
        (lambda: sum(range(1000)))()
        sys.setprofile(None)
        print("done")
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "done\n", run.stderr
