"""Blocks as machines of Google's Compute Engine, or of a service with the same interface."""

from __future__ import annotations

import atexit
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import launcher_or_default
from parsl.providers.cloud import MachineProvider, load_sdk, machine_script
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["GoogleCloudProvider"]

logger = logging.getLogger(__name__)

RUN_LABEL = "parsl-run"
"""Key of the label that says which provider object made a machine."""

_STATES = {
    "PROVISIONING": JobState.PENDING,
    "STAGING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "REPAIRING": JobState.HELD,
    "SUSPENDING": JobState.HELD,
    "SUSPENDED": JobState.HELD,
}
_OFF = {"STOPPED", "TERMINATED"}
_REQUEST_SECONDS = 60.0
_EXTRA = "google_cloud"


class GoogleCloudProvider(MachineProvider):
    """Runs each block on a machine of the Compute Engine, which is made for it and ends with it.

    All machines carry a label with this provider's `run_id`; no others are looked at or ended. They are in the default
    network of the project.

    Args:
        project_id: Id of the project that pays.
        key_file: JSON file with the key of a service account; None for the credentials that Google's library finds.
        region: Region to make machines in, such as "us-central1", or a zone of it, such as "us-central1-a".
        os_project: Project that owns the image, such as "debian-cloud".
        os_family: Family of the image, such as "debian-12". It has to have bash and what workers need.
        google_version: Version of the interface; there is "v1".
        instance_type: Type of the machines.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        launcher: Starts the command on the machine; None for a SingleNodeLauncher.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        credentials: Credentials object of google.auth, in place of `key_file`.
        client_options: Options for the clients of Google's library, such as `{"api_endpoint": "https://..."}`.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant.
    """

    label = "google_cloud"

    @check_types
    def __init__(
        self,
        project_id: str,
        key_file: str | None,
        region: str,
        os_project: str,
        os_family: str,
        google_version: str = "v1",
        instance_type: str = "n1-standard-1",
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 10,
        launcher: AnyLauncher | None = None,
        parallelism: float = 1,
        *,
        credentials: Any = None,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            nodes_per_block=1,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
        )
        if google_version != "v1":
            raise ConfigurationError(f"GoogleCloudProvider: google_version has to be 'v1', but is {google_version!r}")
        self.project_id = project_id
        self.key_file = key_file
        self.region = region
        self.os_project = os_project
        self.os_family = os_family
        self.google_version = google_version
        self.instance_type = instance_type
        self.launcher = launcher_or_default(launcher)
        self.credentials = credentials
        self.client_options = client_options
        self._clients: dict[str, Any] = {}
        self._zone = ""
        self._made = 0

    # -- Compute Engine ------------------------------------------------------------------------------------------

    def _client(self, kind: str) -> Any:
        """Make the client for a kind of resource, or return the one that was made."""
        if kind not in self._clients:
            compute = load_sdk(_EXTRA, "google.cloud.compute_v1")
            if self.credentials is None and self.key_file is not None:
                self.credentials = self._credentials_from(self.key_file)
            make = getattr(compute, f"{kind}Client")
            options = dict(self.client_options) if self.client_options else None
            self._clients[kind] = make(credentials=self.credentials, client_options=options)
        return self._clients[kind]

    def _credentials_from(self, key_file: str) -> Any:
        service_account = load_sdk(_EXTRA, "google.oauth2.service_account")
        try:
            return service_account.Credentials.from_service_account_file(
                os.path.expanduser(key_file), scopes=["https://www.googleapis.com/auth/compute"]
            )
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"GoogleCloudProvider: key_file {key_file} can't be used: {error}") from error

    def _call(self, kind: str, verb: str, **request: Any) -> Any:
        """Send one request; it is not tried again here, for the next look comes anyway."""
        request = {"project": self.project_id, **request}
        return getattr(self._client(kind), verb)(request=request, timeout=_REQUEST_SECONDS, retry=None)

    def _sdk_errors(self) -> tuple[type[Exception], ...]:
        return (
            load_sdk(_EXTRA, "google.api_core.exceptions").GoogleAPIError,
            load_sdk(_EXTRA, "google.auth.exceptions").GoogleAuthError,
            load_sdk(_EXTRA, "requests.exceptions").RequestException,
            load_sdk(_EXTRA, "google.protobuf.json_format").ParseError,
        )

    def get_zone(self, region: str) -> str:
        """Find a zone that is up.

        Args:
            region: Name of a region. That of a zone is returned as it is.

        Raises:
            ConfigurationError: There is none.
        """
        if re.fullmatch(r".+\d-[a-z]", region):
            return region
        zones = list(self._call("Zones", "list"))
        up = sorted(zone.name for zone in zones if zone.region.endswith(f"/{region}") and zone.status == "UP")
        if not up:
            known = ", ".join(sorted({zone.region.rpartition("/")[2] for zone in zones}))
            raise ConfigurationError(f"GoogleCloudProvider: no zone of region {region!r} is up; there are {known}")
        return str(up[0])

    @property
    def zone(self) -> str:
        """The zone of the machines."""
        self._zone = self._zone or self.get_zone(self.region)
        return self._zone

    # -- blocks --------------------------------------------------------------------------------------------------

    def create_instance(self, command: str) -> str:
        """Ask for a machine that runs bash text when it has started; return its name."""
        return self._start(command, "parsl.auto")

    def _start(self, launch: str, job_name: str) -> str:
        self._made += 1
        self._client("Instances")
        name = f"parsl-{self.run_id}-{self._made}"
        script = machine_script("", launch, name, power_off=True)
        machine = self._machine(name, script)
        atexit.register(self.bye)
        operation = self._call("Instances", "insert", zone=self.zone, instance_resource=machine)
        return self._add(name, job_name, mark=name, operation=operation.name)

    def _machine(self, name: str, script: str) -> dict[str, Any]:
        """Describe a machine in Google's words."""
        image = f"projects/{self.os_project}/global/images/family/{self.os_family}"
        return {
            "name": name,
            "labels": {RUN_LABEL: self.run_id},
            "machine_type": f"zones/{self.zone}/machineTypes/{self.instance_type}",
            "disks": [{"boot": True, "auto_delete": True, "initialize_params": {"source_image": image}}],
            "network_interfaces": [
                {
                    "network": "global/networks/default",
                    "access_configs": [{"type_": "ONE_TO_ONE_NAT", "name": "External NAT"}],
                }
            ],
            "metadata": {"items": [{"key": "startup-script", "value": script}]},
        }

    def _look(self, job_ids: list[str]) -> dict[str, JobStatus]:
        wanted = f"labels.{RUN_LABEL}={self.run_id}"
        machines = {m.name: m for m in self._call("Instances", "list", zone=self.zone, filter=wanted)}
        found = {}
        for job_id in job_ids:
            machine = machines.get(job_id)
            found[job_id] = self._unlisted(job_id) if machine is None else self._status_of(job_id, machine)
        return found

    def _status_of(self, job_id: str, machine: Any) -> JobStatus:
        self.resources[job_id]["seen"] = True
        if machine.status in _OFF:
            return self._switched_off(job_id, machine.status_message or f"the machine is {machine.status}")
        state = _STATES.get(machine.status, JobState.UNKNOWN)
        message = None if state in {JobState.PENDING, JobState.RUNNING} else f"the machine is {machine.status}"
        return JobStatus(state, message)

    def _unlisted(self, job_id: str) -> JobStatus:
        """Tell the status of a machine that is not there: not yet, never, or no longer."""
        known = self.resources[job_id]
        if known.get("seen"):
            return JobStatus(JobState.CANCELLED, "the machine was deleted from outside")
        not_found = load_sdk(_EXTRA, "google.api_core.exceptions").NotFound
        try:
            operation = self._call("ZoneOperations", "get", zone=self.zone, operation=known["operation"])
        except not_found:
            return JobStatus(JobState.UNKNOWN, "neither the machine nor the request for it is known to Google")
        errors = [f"{error.code}: {error.message}" for error in operation.error.errors]
        if errors:
            return JobStatus(JobState.FAILED, f"the machine could not be made: {'; '.join(errors)}")
        return JobStatus(JobState.UNKNOWN)

    def _console(self, job_id: str) -> str:
        return str(self._call("Instances", "get_serial_port_output", zone=self.zone, instance=job_id).contents)

    def _release(self, job_id: str) -> None:
        self.delete_instance(job_id)

    def _end(self, job_ids: list[str]) -> dict[str, str]:
        return self._each(job_ids, self._end_one)

    def _end_one(self, job_id: str) -> None:
        known = self.resources[job_id]
        if not known.get("seen"):  # a machine that is asked for and not there yet can't be deleted, and would come
            self._call("ZoneOperations", "wait", zone=self.zone, operation=known["operation"])
        self.delete_instance(job_id)

    def delete_instance(self, name: str) -> None:
        """Delete a machine with its disk. It does not wait for that, and one that is not there will do."""
        not_found = load_sdk(_EXTRA, "google.api_core.exceptions").NotFound
        try:
            self._call("Instances", "delete", zone=self.zone, instance=name)
        except not_found:
            logger.debug("%s: there is no machine %s to delete", self.label, name)

    def bye(self) -> None:
        """Leave: delete all machines of this provider that are still there, and close the connections."""
        atexit.unregister(self.bye)
        try:
            wanted = f"labels.{RUN_LABEL}={self.run_id}"
            names = [m.name for m in self._call("Instances", "list", zone=self.zone, filter=wanted)]
            # Once more by label, for services that do not know the filter.
            failed = self._each(
                [name for name in names if name.startswith(f"parsl-{self.run_id}-")], self.delete_instance
            )
        except self._sdk_errors() as error:
            failed = {"all": self._words(error)}
        for name, words in failed.items():
            logger.warning("%s: machine %s may still be there: %s", self.label, name, words)
        for client in self._clients.values():
            client.transport.close()
        self._clients.clear()
