"""The shell commands that an engine's worker runs: for one task, or for a process that makes many calls."""

from __future__ import annotations

import shlex
import sys

TASK = "parsl.executors.cctools_task"
SERVER = "parsl.executors.cctools_server"

_CALL = f"{TASK} call answer"

PACKAGE = "environment.tar.gz"
"""Name of a packed environment in a task's folder."""

RUNNER = "poncho_package_run"
"""Name of the program that enters it, in the same place."""

COPROCESS = "parsl"
"""Name of the process that makes many calls, for the engine."""

FUNCTION = "run"
"""Name of its one function, for the engine."""


# Workers let their tasks inherit the connection to the manager. A task that has it keeps it open when its worker alone
# is killed, and the manager then knows nothing of that for minutes. The library's sockets are among the first few; a
# larger number would be a word of the command to some shells.
_LET_GO = """for n in 3 4 5 6 7 8 9; do [ -S /proc/$$/fd/$n ] && eval "exec $n>&-"; done
"""

# A task's command for bash. The first task on a worker starts a server beside itself; later ones find its address. A
# task that finds none, or one that does not answer, runs by itself.
_WARM = """p={python}; [ -x "$p" ] || p=python3; d={folder}
if [ -r $d/address ]; then
  read -r port token < $d/address
  if {{ exec 3<>/dev/tcp/127.0.0.1/$port; }} 2>/dev/null; then
    printf '%s %s %s\\n' "$token" $$ "$PWD" >&3
    read -r status <&3 || status=137
    [ $status = 0 ] || cat output 2>/dev/null
    exit $status
  fi
elif [ -d /proc/$$ ] && mkdir -m 700 $d 2>/dev/null; then
  # In a process group of its own, and not in the task's folder: the worker ends both with the task.
  set -m
  (cd $d && exec "$p" -m {server} --warm . $PPID </dev/null >log 2>&1) &
  set +m
fi
exec "$p" -m {task}"""


def command_line(init_command: str = "", *, packed: bool = False, warm: str = "", module: str = _CALL) -> str:
    """Return the command of a task: it reads the file `call` in the task's folder and writes `answer`.

    Args:
        init_command: shell command before it, such as one that enters an environment.
        packed: whether the task is to run in the environment packed in the file `PACKAGE`.
        warm: a word of this run alone, to have calls made by a server that stays on the worker. That is for tasks
            which need nothing but the script's own Python: with one of the others it is left out.
        module: what Python runs, with its arguments.

    Returns:
        Text for `/bin/sh`. It takes the script's own interpreter where the worker has it at the same path and the init
        command has not put another Python first, and else the `python3` that is found.
    """
    python = shlex.quote(sys.executable)
    choose = f'p={python}; [ -x "$p" ] || p=python3'
    run = f'exec "$p" -m {module}'
    before = init_command.strip()
    if packed:
        return f"{_LET_GO}{before}\nexec ./{RUNNER} -e {PACKAGE} python3 -m {module}"
    if before:
        # An init command that has brought another Python forward is to have its way.
        other = '[ "$(command -v python3)" = "$q" ] || p=python3'
        return f"{_LET_GO}q=$(command -v python3)\n{before}\n{choose}; {other}; {run}"
    alone = f"{choose}; {run}"
    if not warm:
        return f"{_LET_GO}{alone}"
    script = _WARM.format(python=python, folder=f"../parsl-{warm}", server=SERVER, task=module)
    return f"{_LET_GO}[ -x /bin/bash ] && exec /bin/bash -c {shlex.quote(script)}; {alone}"


def coprocess_command() -> str:
    """Return the command that is a worker's coprocess in Work Queue."""
    return f"{shlex.quote(sys.executable)} -m {SERVER} --coprocess"
