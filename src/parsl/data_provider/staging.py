"""`Staging`: what a provider of file transfers can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from parsl.app.futures import DataFuture
    from parsl.data_provider.data_manager import DataManager
    from parsl.data_provider.files import File


class Staging:
    """Brings files of one kind to where a task runs, and back.

    For each File among the arguments of a call, the first provider of the executor's `storage_access` whose
    `can_stage_in` says yes is asked for `stage_in` and then for `replace_task`. For each file in `outputs`,
    the first whose `can_stage_out` says yes is asked for `replace_task_stage_out` when the app is called, and then
    for `stage_out`. So a transfer can happen in a task of its own (`stage_in`, `stage_out`), inside the task, by a
    function wrapped round the app's own (`replace_task`, `replace_task_stage_out`), or both; the default
    bodies do neither. A subclass overrides what it needs.

    All hooks are called in the thread that calls the app. They must not wait for a transfer or for a future, and an
    exception that they raise is raised by that call. The `file` that they are given is a copy that belongs to this one
    task: a provider tells the app where the file is by setting `file.local_path`.

    One provider may be used by several executors and from several threads at once.
    """

    def can_stage_in(self, file: File) -> bool:
        """Tell whether this provider brings a file to a task. The default is no.

        Args:
            file: the file; mostly its `scheme` decides.
        """
        return False

    def can_stage_out(self, file: File) -> bool:
        """Tell whether this provider brings a file away from a task. The default is no.

        Args:
            file: the file; mostly its `scheme` decides.
        """
        return False

    def stage_in(self, dm: DataManager, executor: str, file: File, parent_fut: Future[Any] | None) -> DataFuture | None:
        """Begin a transfer that must end before the task may start. The default begins none.

        Args:
            dm: the data manager that asks; `dm.dfk` is the kernel, with which a transfer can be submitted as a task.
            executor: the label of the executor that will run the task; `dm.dfk.executors` has it, with its
                `working_dir`.
            file: the task's own copy of the file.
            parent_fut: the future of the file, if another task is to produce it: the transfer has to wait for it.
                None for a file that is there already.

        Returns:
            A DataFuture whose result is `file`, for which the task waits instead of `parent_fut`. None if there is
            nothing to wait for but `parent_fut`.
        """
        return None

    def stage_out(self, dm: DataManager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """Begin a transfer of a file that a task produces. The default begins none.

        Args:
            dm: the data manager that asks.
            executor: the label of the executor that will run the task.
            file: the task's own copy of the file.
            app_fu: the future of the task, not done yet: the transfer has to wait for it.

        Returns:
            A future that is done when the file has arrived; the output's DataFuture then waits for it. None if the
            file has arrived when the task has ended.
        """
        return None

    def replace_task(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put something round the function of a task that reads a file. The default changes nothing.

        Args:
            dm: the data manager that asks.
            executor: the label of the executor that will run the task.
            file: the task's own copy of the file, which is also among its arguments.
            func: the function; possibly wrapped already, for another file.

        Returns:
            A function to run instead, with the same arguments, where the task runs: it has to be picklable. None to
            leave `func` as it is.
        """
        return None

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """Put something round the function of a task that writes a file. The default changes nothing.

        Args:
            dm: the data manager that asks.
            executor: the label of the executor that will run the task.
            file: the task's own copy of the file, which is also among its arguments.
            func: the function; possibly wrapped already, for another file.

        Returns:
            A function to run instead, with the same arguments, where the task runs: it has to be picklable. None to
            leave `func` as it is.
        """
        return None
