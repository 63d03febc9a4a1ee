"""How the manager of TaskVine is made."""

from __future__ import annotations

from dataclasses import dataclass

# What TaskVine's own programs take when no port is named.
VINE_DEFAULT_PORT = 9123


@dataclass
class TaskVineManagerConfig:
    """How the manager of TaskVine is made.

    Attributes:
        port: port of the manager; 0 for a free one.
        address: this host's name or address for workers; None for the host's name.
        project_name: name under which workers find the manager in the catalogue of cctools; None for none.
        project_password_file: file with a password that workers must know.
        env_vars: environment variables for tasks.
        init_command: shell command before each task.
        env_pack: packed Python environment (`.tar.gz`), or the folder or name of a conda environment to pack, in
            which tasks run; needs poncho.
        app_pack: pack the conda environment of this script, and run tasks in that; needs poncho.
        extra_pkgs: more conda packages for `app_pack`.
        max_retries: how often a task is tried whose worker was lost; 0 for no bound.
        library_config: for `function_exec_mode='serverless'`: `num_slots` is how many calls a worker makes at once,
            `cores`, `memory` and `disk` are what the library's process takes of a worker; None for all of it.
        shared_fs: whether workers see the script's files under the same paths. Otherwise files are brought to tasks
            and back.
        autolabel: measure tasks, and give each as much as others of its category have needed; one that takes more
            memory or disk than its specification says is ended. Needs the program `resource_monitor`.
        autolabel_algorithm: how that is reckoned: `max-xput` (throughput), `bucketing`, `min-waste`, `max`.
        autolabel_window: tasks of a category after which that is reckoned anew.
        autocategory: take each app for a category of its own.
        enable_peer_transfers: let workers bring files to one another.
        wait_for_workers: workers to wait for before the first task is sent; None for none.
        vine_log_dir: folder for the manager's own logs; None for the run folder.
        tune_parameters: values for `tune` of the manager, by name, such as `{'worker-source-max-transfers': 3}`.
    """

    port: int = VINE_DEFAULT_PORT
    address: str | None = None
    project_name: str | None = None
    project_password_file: str | None = None
    env_vars: dict[str, str] | None = None
    init_command: str = ""
    env_pack: str | None = None
    app_pack: bool = False
    extra_pkgs: list[str] | None = None
    max_retries: int = 1
    library_config: dict[str, int] | None = None
    shared_fs: bool = False
    autolabel: bool = False
    autolabel_algorithm: str = "max-xput"
    autolabel_window: int | None = None
    autocategory: bool = True
    enable_peer_transfers: bool = True
    wait_for_workers: int | None = None
    vine_log_dir: str | None = None
    tune_parameters: dict[str, float] | None = None
