"""Blocks that end: what a manager takes on before that, and where tasks with a declared time go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from parsl.app.app import bash_app, python_app
from parsl.executors.errors import InvalidResourceSpecification
from parsl.providers import LocalProvider
from tests.live import pilot


def ends_in(seconds: int) -> str:
    """Return what a block's script says when it ends in so many seconds."""
    return f"export PARSL_BLOCK_ENDS=$(( $(date +%s) + {seconds} )); unset SLURM_JOB_END_TIME"


def block_of() -> str:
    """Return the block in which this runs."""
    return os.environ["PARSL_WORKER_BLOCK_ID"]


def test_a_manager_drains_by_itself_before_its_block_ends(tmp_path, gate):
    executor = pilot.htex(provider=pilot.provider(worker_init=ends_in(4)))
    with pilot.kernel(tmp_path, executor) as kernel:
        begin = time.time()
        running = kernel.submit(pilot.wait_at, (gate.path,))
        pilot.wait_for(lambda: pilot.running(executor, 1))
        pilot.wait_for(lambda: executor.connected_managers()[0]["draining"])
        assert time.time() < begin + pilot.SOON
        late = kernel.submit(block_of, ())
        gate.let(1)
        # What runs ends in peace; what comes later is not given to a block that is about to end.
        assert running.result(pilot.SOON)
        pilot.wait_for(lambda: not executor.connected_managers())
        assert not late.done()
        assert late.cancel()


def test_a_task_waits_for_a_block_that_lasts_long_enough(tmp_path):
    provider = pilot.provider(worker_init=ends_in(300), max_blocks=2)
    executor = pilot.htex(provider=provider)
    with pilot.kernel(tmp_path, executor) as kernel:
        where = python_app(block_of, data_flow_kernel=kernel)
        limited = where(walltime=1000)
        specified = where(parsl_resource_specification={"walltime": 1000, "priority": -1})
        command = bash_app(lambda walltime=1000: "true", data_flow_kernel=kernel)()
        assert where().result(pilot.SOON) == where(walltime=100).result(pilot.SOON) == "0"
        assert not any(f.done() for f in (limited, specified, command))
        assert executor._client.commands.run("OUTSTANDING_C") == 3
        provider.worker_init = ends_in(3000)
        executor.scale_out_facade(1)
        assert limited.result(pilot.SOON) == specified.result(pilot.SOON) == "1"
        assert command.result(pilot.SOON) == 0


class TenMinutes(LocalProvider):
    """Blocks of which a batch system would make an end."""

    block_seconds = 600


def test_a_task_that_fits_no_block_fails_at_once_and_says_why(tmp_path):
    executor = pilot.htex(provider=TenMinutes(init_blocks=0, max_blocks=1))
    with pilot.kernel(tmp_path, executor) as kernel:
        app = python_app(block_of, data_flow_kernel=kernel)
        for future in (app(walltime=571), app(parsl_resource_specification={"walltime": 571})):
            error = future.exception(pilot.SOON)
            assert isinstance(error, InvalidResourceSpecification)
            for words in ("571 s", "600 s", "570 s", "htex"):
                assert words in str(error)
        with pytest.raises(InvalidResourceSpecification):
            executor.submit(block_of, {"walltime": 571})


def test_small_runs_need_few_files(tmp_path):
    def few(command):
        return ["bash", "-c", 'ulimit -n 256 && exec "$@"', "bash", *command]

    from parsl.executors.high_throughput.client import interchange_command

    executor = pilot.htex(
        interchange_launch_cmd=few(interchange_command()), provider=pilot.provider(worker_init="ulimit -n 256")
    )
    with pilot.kernel(tmp_path, executor) as kernel:
        assert kernel.submit(block_of, ()).result(pilot.SOON) == "0"
    assert "open files" not in "".join(p.read_text() for p in Path(kernel.run_dir).rglob("interchange.log"))
