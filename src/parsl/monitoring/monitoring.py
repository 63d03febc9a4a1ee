"""`MonitoringHub`: what users give to `Config(monitoring=...)`, and what the kernel tells its records to."""

from __future__ import annotations

import datetime
import getpass
import importlib.util
import json
import logging
import os
import platform
import re
import socket
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from parsl.errors import OptionalModuleMissing
from parsl.monitoring.dashboard import DashboardProcess
from parsl.monitoring.database import LOCKED_START_SECONDS, DatabaseProcess
from parsl.monitoring.db_manager import ABOUT, journal_folder
from parsl.monitoring.errors import MonitoringHubStartError, RadioRequiredError
from parsl.monitoring.journal import JournalWriter
from parsl.monitoring.messages import MessageSink
from parsl.monitoring.radios.filesystem import filesystem_receiver
from parsl.monitoring.records import BEGAN, COMPLETED, Batch
from parsl.monitoring.schema import NEEDS_SQLALCHEMY
from parsl.monitoring.telemetry import Telemetry
from parsl.representation import RepresentationMixin
from parsl.validation import check_types
from parsl.version import VERSION

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor
    from parsl.loop import Loop
    from parsl.monitoring.radios.base import MonitoringRadioReceiver, RadioConfig

logger = logging.getLogger(__name__)

DEFAULT_PORTS = (55050, 56000)
LAST_PORT = 65535

_PASSWORD = re.compile(r"(://[^:/@]*:)[^/]*@")

# How long the end of a run waits for a disk that takes nothing.
_DISK_SECONDS = 10.0

__all__ = ["MonitoringHub", "filesystem_receiver"]


class MonitoringHub(RepresentationMixin):
    """Keeps a database of what a run does: tasks, tries, states, resources, blocks and nodes.

    Neither a slow or locked database nor the death of its process stops a task or loses a row: all goes through a
    journal in the run folder first.

    Args:
        hub_address: kept for earlier configurations; a radio that needs an address has a parameter for it.
        hub_port: kept for earlier configurations; deprecated.
        hub_port_range: kept for earlier configurations; deprecated. None counts as the default.
        workflow_name: name of the workflow; None for the script's.
        workflow_version: version of the workflow; None for the time of its start.
        logging_endpoint: the database, as a URL: `sqlite:///path` or `postgresql://user:password@host/name`; None for
            `monitoring.db` in the folder that holds the run folders.
        monitoring_debug: write `database_manager.log` at debug level.
        resource_monitoring_enabled: record what each try uses: CPU, memory, I/O of its process tree.
        resource_monitoring_interval: seconds between two samples of a task that runs; there is one at its end in any
            case. 0 for only that.
        dashboard: serve the live page of the database while the run lasts, for browsers on this machine: at port 8080,
            or any free one if that is taken; or at the port that is given. The log tells the address.
        telemetry: also tell OpenTelemetry and Prometheus of the run; None for not.

    Attributes:
        dashboard_url: where the live page is while the run lasts; otherwise None.

    Raises:
        TypeError: when an argument is of a wrong type.
        ValueError: when a value is out of its range.
    """

    @check_types
    def __init__(
        self,
        hub_address: str | None = None,
        hub_port: int | None = None,
        hub_port_range: tuple[int, int] | None = DEFAULT_PORTS,
        workflow_name: str | None = None,
        workflow_version: str | None = None,
        logging_endpoint: str | None = None,
        monitoring_debug: bool = False,
        resource_monitoring_enabled: bool = True,
        resource_monitoring_interval: float | int = 30,
        dashboard: bool | int = False,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.hub_address = hub_address
        self.hub_port = hub_port
        self.hub_port_range = hub_port_range
        self.workflow_name = workflow_name
        self.workflow_version = workflow_version
        self.logging_endpoint = logging_endpoint
        self.monitoring_debug = monitoring_debug
        self.resource_monitoring_enabled = resource_monitoring_enabled
        self.resource_monitoring_interval = resource_monitoring_interval
        self.dashboard = dashboard
        if not isinstance(dashboard, bool) and not 0 <= dashboard <= LAST_PORT:
            raise ValueError(
                f"MonitoringHub: parameter 'dashboard' must be True, False or a port up to {LAST_PORT}, but got "
                f"{dashboard}"
            )
        self.telemetry = telemetry
        if not resource_monitoring_interval >= 0:  # so that nan is refused as well
            msg = (
                "MonitoringHub: parameter 'resource_monitoring_interval' must be at least 0, but got "
                f"{resource_monitoring_interval!r}"
            )
            raise ValueError(msg)
        if hub_port is not None or hub_port_range not in {None, DEFAULT_PORTS}:
            warnings.warn(
                "hub_port and hub_port_range are deprecated and have no effect: no port is listened on, except by "
                "UDPRadio(port=...) of an executor",
                DeprecationWarning,
                stacklevel=3,
            )
        # Set by the kernel before `start`.
        self.loop: Loop | None = None
        self.run_id = ""
        self._own_loop: Loop | None = None
        self._journal: JournalWriter | None = None
        self._database: DatabaseProcess | None = None
        self._receivers: list[MonitoringRadioReceiver] = []
        self.resource_msgs: MessageSink | None = None
        self._run_dir = ""
        self._dashboard: DashboardProcess | None = None

    @property
    def dashboard_url(self) -> str | None:
        """Where the live page is; None where there is none."""
        return None if self._dashboard is None else self._dashboard.url

    @property
    def in_use(self) -> bool:
        """Whether a kernel uses it; each needs one of its own."""
        return self._journal is not None

    def start(self, dfk_run_dir: str, config_run_dir: str | os.PathLike[str], log_config: Any = None) -> None:
        """Start the database process and record that the run begins.

        Args:
            dfk_run_dir: this run's folder.
            config_run_dir: the folder of run folders.
            log_config: how the database process keeps its log.

        Raises:
            MonitoringHubStartError: when the database cannot be used; the text says why.
            OptionalModuleMissing: when SQLAlchemy, or what telemetry needs, is not installed.
            OSError: when the port for metrics cannot be had.
        """
        # The library itself stays out of this process: its many objects would make each garbage collection longer.
        if importlib.util.find_spec("sqlalchemy") is None:
            raise OptionalModuleMissing(["sqlalchemy"], NEEDS_SQLALCHEMY)
        if self.telemetry is not None:
            self.telemetry.check()
        if self.in_use:
            raise MonitoringHubStartError("this MonitoringHub is in use by another kernel: give each one of its own")
        if self.loop is None:
            from parsl.loop import Loop

            self.loop = self._own_loop = Loop("monitoring-loop")
            self._own_loop.start()
        self._run_dir = os.path.abspath(dfk_run_dir)
        folder = journal_folder(self._run_dir)
        os.makedirs(folder, exist_ok=True)
        url = self.logging_endpoint or f"sqlite:///{os.path.join(os.path.abspath(config_run_dir), 'monitoring.db')}"
        # Whoever may read this file may read the password: it is the owner's alone.
        with open(os.open(os.path.join(folder, ABOUT), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"run_id": self.run_id, "url": url}, file)
        config = {
            "url": url,
            "run_id": self.run_id,
            "run_dir": self._run_dir,
            "log_config": True if log_config is None else log_config,
            "debug": self.monitoring_debug,
            "patience": LOCKED_START_SECONDS,
            "telemetry": self.telemetry,
        }
        self._database = DatabaseProcess(config, os.path.join(self._run_dir, "database_manager.stderr"), self.loop)
        try:
            self._start_dashboard(url, self.loop)
            self._database.start()
        except BaseException:
            self._close_dashboard()
            self._stop_own_loop()
            raise
        self._journal = JournalWriter(folder, self._database.wake)
        self.resource_msgs = MessageSink(self._journal.put, self.loop)
        self._journal.put(Batch([(BEGAN, self._facts())]))
        logger.info("Monitoring in %s", _PASSWORD.sub(r"\1***@", url))

    def _start_dashboard(self, url: str, loop: Loop) -> None:
        if self.dashboard is False:
            return
        errors_path = os.path.join(self._run_dir, "dashboard.stderr")
        self._dashboard = DashboardProcess(url, self.dashboard, errors_path, loop)
        self._dashboard.start()

    def _close_dashboard(self) -> None:
        dashboard, self._dashboard = self._dashboard, None
        if dashboard is not None:
            dashboard.close()

    def _facts(self) -> dict[str, Any]:
        now = time.time()
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())  # a user without a name, as in some containers
        return {
            "workflow_name": self.workflow_name or os.path.basename(sys.argv[0] or "interactive"),
            "workflow_version": self.workflow_version or str(datetime.datetime.fromtimestamp(now)),  # noqa: DTZ006 - local time is the contract
            "began": now,
            "host": socket.gethostname(),
            "user_name": user,
            "rundir": self._run_dir,
            "interval": float(self.resource_monitoring_interval),
            "python_version": platform.python_version(),
            "parsl_version": VERSION,
        }

    def send_records(self, records: Batch) -> None:
        """Take in records; from any thread."""
        if self._journal is not None:
            self._journal.put(records)

    def send(self, message: Any) -> None:
        """Take in a message: a pair of a `MessageType` and a dict."""
        if self.resource_msgs is not None:
            self.resource_msgs.put(message)

    def attach(self, executor: ParslExecutor) -> RadioConfig | None:
        """Get an executor ready to be monitored, before it starts.

        Args:
            executor: its `monitoring_messages` is set.

        Returns:
            The radio by which each of its tasks, wrapped by `remote`, is to send what it uses; None where the executor
            measures that by itself, or nothing is to be measured.

        Raises:
            RadioRequiredError: when there should be one, and the executor has none.
            MonitoringRouterStartError: when it cannot be listened to, for example because its port is taken.
        """
        executor.monitoring_messages = self.resource_msgs
        if not self.resource_monitoring_enabled or not executor.monitor_resources():
            return None
        radio: RadioConfig | None = executor.remote_monitoring_radio
        if hasattr(executor, "monitoring_interval"):
            executor.monitoring_interval = float(self.resource_monitoring_interval)
        elif radio is None:
            raise RadioRequiredError(executor.label)
        if radio is None:
            return None
        self._receivers.append(radio.create_receiver(run_dir=self._run_dir, resource_msgs=self.resource_msgs))
        return None if hasattr(executor, "monitoring_interval") else radio

    def close(self) -> None:
        """Record that the run ends, and see all into the database, as far as it can be written; once."""
        journal, self._journal = self._journal, None
        if journal is None:
            return
        for receiver in self._receivers:
            try:
                receiver.shutdown()
            except Exception:
                logger.exception("A receiver of monitoring messages did not shut down cleanly")
        self._receivers.clear()
        journal.put(Batch([(COMPLETED, time.time())]))
        complete = journal.close(_DISK_SECONDS)
        assert self._database is not None
        if not self._database.close() or not complete:
            logger.warning(
                "Not all of what monitoring knows of this run is in the database. It is kept in %s; once the database "
                "can be used, apply it with: python -m parsl.monitoring.db_manager %s",
                journal.folder,
                self._run_dir,
            )
        self.resource_msgs = None
        self._close_dashboard()
        self._stop_own_loop()

    def _stop_own_loop(self) -> None:
        if self._own_loop is not None:
            self._own_loop.stop()
            self._own_loop.join()
            self._own_loop = self.loop = None
