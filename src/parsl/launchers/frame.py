"""The bash text that all launchers share: pieces of a script, each a function from values to lines.

Names that the scripts set begin with `_parsl_`, as a variable that came from the user's environment (RANK, say) would
reach the command with another value. The exceptions are SCRIPT_DIR and CORES, which commands may rely on.
"""

from __future__ import annotations

import re

COPY_INDEX = "$((_parsl_copy - 1))"
"""Bash text for the number of the copy that `run_copies` is starting, from 0."""

CMD_FILE = '"$_parsl_cmd_file"'
"""Bash text for the path of the file that `command_file` wrote."""

NODE_FILE = '"$_parsl_node_file"'
"""Bash text for the path of the file that `node_file` wrote."""


def quoted(text: str) -> str:
    """Put text between double quotes so that bash takes it literally.

    Args:
        text: Any text without NUL.
    """
    return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'


def script_dir_line(script_dir: str) -> str:
    """Set SCRIPT_DIR, the folder that `command_file` writes to.

    Args:
        script_dir: A folder that all nodes of the block see under this path.
    """
    return f"SCRIPT_DIR={quoted(script_dir)}\n"


def command_file(command: str, script_dir: str | None, *, with_environment: bool = False) -> str:
    """Write the command to a file beside the block's script, for starters that take a program and not bash text.

    The text gets there as it is: nothing in it is expanded on the way.

    Args:
        command: Bash text.
        script_dir: Where to; None for what SCRIPT_DIR says at run time, or the working directory.
        with_environment: Begin the file with the environment and working directory of the block's script, for starters
            that do not carry them to other nodes. Such a file is for its owner's eyes only.
    """
    _check_command(command)
    mark = "PARSL_COMMAND"
    while mark in command:
        mark += "_"
    set_dir = 'SCRIPT_DIR="${SCRIPT_DIR:-}"\n' if script_dir is None else script_dir_line(script_dir)
    write = f"cat > {CMD_FILE}"
    if with_environment:
        write = f"umask 077; {{ export -p; printf 'cd %q || exit\\n' \"$PWD\"; cat; }} > {CMD_FILE}"
    return f"""{set_dir}if [[ -n "$SCRIPT_DIR" && ! -d "$SCRIPT_DIR" ]]; then
    echo "parsl: the script directory $SCRIPT_DIR is not there on $HOSTNAME; all nodes have to see it" >&2
    exit 1
fi
_parsl_cmd_file="${{SCRIPT_DIR:+$SCRIPT_DIR/}}cmd_${{HOSTNAME}}_$$.sh"
if ! ({write}) <<'{mark}'
{command}
{mark}
then
    echo "parsl: cannot write "{CMD_FILE} >&2
    exit 1
fi
"""


def node_file(repeats: int, *, required_by: str | None = None) -> str:
    """Write the names of the block's nodes to a file, as a PBS lists them; to be used after `command_file`.

    Args:
        repeats: How often each node is to be listed: the copies that shall run on it.
        required_by: Name of the launcher if the block is to fail without such a list, else NODE_FILE stays empty.
    """
    otherwise = ""
    if required_by:
        otherwise = f"""else
    echo "parsl: {required_by} needs PBS_NODEFILE, a file that lists the nodes of the block" >&2
    exit 1
"""
    return f"""_parsl_node_file=
if [[ -n "${{PBS_NODEFILE:-}}" ]]; then
    _parsl_node_file="${{_parsl_cmd_file%.sh}}.nodes"
    awk '!seen[$0]++ {{ for (i = 0; i < {repeats}; i++) print }}' "$PBS_NODEFILE" > {NODE_FILE} || exit
{otherwise}fi
"""


def run_copies(body: str, copies: int, *, fail_on_any: bool, debug: bool) -> str:
    """Start copies of a piece of bash text side by side, wait for all, and exit.

    The exit code is 0, or that of the first copy (in the order of starting) that failed.

    Args:
        body: Bash text, run in a subshell for each copy; can use COPY_INDEX.
        copies: How many.
        fail_on_any: Exit with another code than 0 if any copy failed; else only if all did.
        debug: Report on standard error.
    """
    _check_command(body)
    started = f'    echo "parsl: starting $_parsl_copy of {copies} from $HOSTNAME, which has $CORES cores" >&2\n'
    ended = f'echo "parsl: $_parsl_failed of {copies} failed, exit code $_parsl_exit" >&2\n'
    forgive = f"if [[ $_parsl_failed -lt {copies} ]]; then _parsl_exit=0; fi\n"
    # The empty line keeps a backslash at the end of the body away from the brace. `wait` stands behind `||` as the
    # user's worker_init may have said `set -e`.
    return f"""_parsl_launch() {{
{body}

}}
export CORES="$(getconf _NPROCESSORS_ONLN)"
_parsl_pids=()
for ((_parsl_copy = 1; _parsl_copy <= {copies}; _parsl_copy++)); do
{started if debug else ""}    _parsl_launch &
    _parsl_pids+=($!)
done
_parsl_exit=0
_parsl_failed=0
for _parsl_pid in "${{_parsl_pids[@]}}"; do
    _parsl_code=0
    wait "$_parsl_pid" || _parsl_code=$?
    if [[ $_parsl_code != 0 ]]; then
        _parsl_failed=$((_parsl_failed + 1))
        if [[ $_parsl_exit == 0 ]]; then _parsl_exit=$_parsl_code; fi
    fi
done
{"" if fail_on_any else forgive}{ended if debug else ""}exit $_parsl_exit
"""


def _check_command(command: str) -> None:
    if not command.strip():
        raise ValueError("There is no command to launch: it is empty")
