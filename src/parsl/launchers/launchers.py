"""The launchers: each is a line of bash within the common frame."""

from __future__ import annotations

import logging
from abc import abstractmethod

from parsl.launchers.base import Launcher
from parsl.launchers.frame import CMD_FILE, COPY_INDEX, NODE_FILE, command_file, node_file, run_copies

__all__ = [
    "AprunLauncher",
    "GnuParallelLauncher",
    "JsrunLauncher",
    "MpiExecLauncher",
    "MpiRunLauncher",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "SrunLauncher",
    "SrunMPILauncher",
    "WrappedLauncher",
]

logger = logging.getLogger(__name__)


class SimpleLauncher(Launcher):
    """Takes the command as it is: one copy, on the first node of the block.

    It fits single-node blocks, and multi-node blocks whose command reaches the other nodes itself, as with MPIExecutor.

    Args:
        debug: Kept, but there is nothing to say.
    """

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str | None = None) -> str:
        """Give the command back; more than one task per node can't be had, so a warning says that there is one."""
        _copies(tasks_per_node, nodes_per_block)
        _warn_if_several(self, tasks_per_node)
        return command


class WrappedLauncher(Launcher):
    """Puts a command such as `time`, or one that starts a container, before the command.

    Args:
        prepend: What to put there. It may be changed later and holds for blocks from then on.
        debug: Kept, but there is nothing to say.
    """

    def __init__(self, prepend: str, debug: bool = True) -> None:
        super().__init__(debug=debug)
        self.prepend = prepend

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str | None = None) -> str:
        """Prepend; more than one task per node can't be had, so a warning says that there is one."""
        _copies(tasks_per_node, nodes_per_block)
        _warn_if_several(self, tasks_per_node)
        return f"{self.prepend} {command}"


class SingleNodeLauncher(Launcher):
    """Starts `tasks_per_node` copies on the first node of the block, which it takes for the only one.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
        fail_on_any: Fail the block if any copy fails; else it fails only if all do.
    """

    def __init__(self, debug: bool = True, fail_on_any: bool = False) -> None:
        super().__init__(debug=debug)
        self.fail_on_any = fail_on_any

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str | None = None) -> str:
        """Write the script; more than one node can't be used, so a warning says so."""
        _copies(tasks_per_node, nodes_per_block)
        if nodes_per_block > 1:
            logger.warning("SingleNodeLauncher uses the first of the %d nodes of a block only", nodes_per_block)
        return run_copies(command, tasks_per_node, fail_on_any=self.fail_on_any, debug=self.debug)


class _StarterLauncher(Launcher):
    """A launcher over a program that starts another program on many nodes; a subclass gives the line that calls it."""

    _one_by_one = False
    """Whether the line starts one copy of the command, so that it has to be run as often as there shall be copies."""

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str | None = None) -> str:
        """Write the script, in two parts: the command goes to a file, then the starter runs that file everywhere."""
        copies = _copies(tasks_per_node, nodes_per_block)
        line = self._line(tasks_per_node, nodes_per_block)
        body = f"set -x\n{line}" if self.debug else line
        starts = copies if self._one_by_one else 1
        return self._preparation(command, tasks_per_node, script_dir) + run_copies(
            body, starts, fail_on_any=True, debug=self.debug
        )

    def _preparation(self, command: str, tasks_per_node: int, script_dir: str | None) -> str:
        """Write what comes before the starter; at least it makes the command file."""
        return command_file(command, script_dir)

    @abstractmethod
    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        """Write the line that runs the command file on the nodes."""


class _OverridableLauncher(_StarterLauncher):
    """A launcher over a starter that takes options of the user's."""

    def __init__(self, debug: bool = True, overrides: str = "") -> None:
        super().__init__(debug=debug)
        self.overrides = overrides

    @property
    def _options(self) -> str:
        """The overrides with a space before them, or nothing."""
        return f" {self.overrides}" if self.overrides else ""


class SrunLauncher(_OverridableLauncher):
    """Starts all copies with one `srun`, within a Slurm allocation.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
        overrides: Further options for the starter, as bash text, put after ours.
    """

    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        copies = tasks_per_node * nodes_per_block
        return f"srun --ntasks={copies} --ntasks-per-node={tasks_per_node} --label{self._options} bash {CMD_FILE}"


class SrunMPILauncher(_OverridableLauncher):
    """Starts each copy with an `srun` of its own, so that the copies can start MPI programs, side by side, themselves.

    The steps are started with `--overlap`: what they start with srun in turn needs the same resources. That takes
    Slurm 20.11 or later.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
        overrides: Further options for the starter, as bash text, put after ours.
    """

    _one_by_one = True

    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        node = f"$(({COPY_INDEX} / {tasks_per_node}))"
        return f"srun --nodes=1 --ntasks=1 --relative={node} --overlap{self._options} bash {CMD_FILE}"


class AprunLauncher(_OverridableLauncher):
    """Starts all copies with one `aprun`, on Cray systems with ALPS.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
        overrides: Further options for the starter, as bash text, put after ours.
    """

    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        return f"aprun -n {tasks_per_node * nodes_per_block} -N {tasks_per_node}{self._options} bash {CMD_FILE}"


class JsrunLauncher(_OverridableLauncher):
    """Starts all copies with one `jsrun`, on IBM systems with LSF: a resource set for each copy.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
        overrides: Further options for the starter, as bash text, put after ours.
    """

    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        return f"jsrun -n {tasks_per_node * nodes_per_block} -r {tasks_per_node}{self._options} bash {CMD_FILE}"


class MpiExecLauncher(_OverridableLauncher):
    """Starts all copies with one `mpiexec`, which has to be on the PATH.

    Copies are not bound to cores. If the batch system sets PBS_NODEFILE the nodes are taken from there.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
        bind_cmd: The option of this mpiexec that sets binding; it is given the value `none`.
        overrides: Further options, as bash text, put after ours.
    """

    def __init__(self, debug: bool = True, bind_cmd: str = "--bind-to", overrides: str = "") -> None:
        super().__init__(debug=debug, overrides=overrides)
        self.bind_cmd = bind_cmd

    def _preparation(self, command: str, tasks_per_node: int, script_dir: str | None) -> str:
        return super()._preparation(command, tasks_per_node, script_dir) + node_file(tasks_per_node)

    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        copies = tasks_per_node * nodes_per_block
        hosts = f"${{_parsl_node_file:+--hostfile {NODE_FILE}}}"
        return f"mpiexec {self.bind_cmd} none -n {copies} {hosts}{self._options} bash {CMD_FILE}"


class MpiRunLauncher(_OverridableLauncher):
    """Starts all copies with one `mpirun`, which has to be on the PATH and to know the nodes of the block.

    How copies are spread over nodes differs between MPI implementations, so that is left to `overrides`
    (`--map-by ppr:1:node` with Open MPI, `-ppn 1` with MPICH and Intel MPI).

    Args:
        debug: Say in the block's standard error what is started and how it ended.
        bash_location: Path of bash on the nodes.
        overrides: Further options, as bash text, put after ours.
    """

    def __init__(self, debug: bool = True, bash_location: str = "/bin/bash", overrides: str = "") -> None:
        super().__init__(debug=debug, overrides=overrides)
        self.bash_location = bash_location

    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        return f"mpirun -np {tasks_per_node * nodes_per_block}{self._options} {self.bash_location} {CMD_FILE}"


class GnuParallelLauncher(_StarterLauncher):
    """Starts all copies with GNU parallel, over ssh that asks for no password.

    The batch system has to set PBS_NODEFILE. The environment of the block's script is carried to the other nodes.

    Args:
        debug: Say in the block's standard error what is started and how it ended.
    """

    def _preparation(self, command: str, tasks_per_node: int, script_dir: str | None) -> str:
        absolute = f'[[ {CMD_FILE} == /* ]] || _parsl_cmd_file="$PWD/"{CMD_FILE}\n'
        return (
            command_file(command, script_dir, with_environment=True)
            + absolute
            + node_file(1, required_by="GnuParallelLauncher")
        )

    def _line(self, tasks_per_node: int, nodes_per_block: int) -> str:
        numbers = " ".join(map(str, range(tasks_per_node * nodes_per_block)))
        return (
            f"parallel --will-cite --quote --line-buffer --tagstring {{#}} --sshloginfile {NODE_FILE} "
            f"--jobs {tasks_per_node} --max-replace-args=0 bash {CMD_FILE} ::: {numbers}"
        )


def _copies(tasks_per_node: int, nodes_per_block: int) -> int:
    """Tell how many copies there are to be.

    Raises:
        ValueError: Less than one on a node, or no node.
    """
    if tasks_per_node < 1 or nodes_per_block < 1:
        raise ValueError(
            f"A block has at least one task per node and one node, but got {tasks_per_node} tasks on {nodes_per_block}"
        )
    return tasks_per_node * nodes_per_block


def _warn_if_several(launcher: Launcher, tasks_per_node: int) -> None:
    if tasks_per_node > 1:
        logger.warning(
            "%s supports one task per node only: of %d, one is started", type(launcher).__name__, tasks_per_node
        )
