"""Blocks as virtual machines of Microsoft Azure, or of a cloud with the same interface."""

from __future__ import annotations

import atexit
import functools
import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.azure import machine as shapes
from parsl.providers.base import launcher_or_default
from parsl.providers.cloud import MachineProvider, load_sdk, machine_script
from parsl.providers.errors import ExecutionProviderException
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["AzureProvider"]

logger = logging.getLogger(__name__)

_NEEDED = ("publisher", "offer", "sku", "version", "vm_size", "disk_size_gb", "admin_username")
_REQUEST = {"connection_timeout": 10, "read_timeout": 60, "retry_total": 3, "polling_interval": 5}
_KINDS = ("virtual_machines", "network_interfaces", "public_ip_addresses", "disks")


class AzureProvider(MachineProvider):
    """Runs each block on a virtual machine of Azure, which is made for it and ends with it.

    The resource group has to exist; the virtual network is made in it if it is not there. All that this provider makes
    carries a tag with its `run_id`; nothing else is looked at or ended.

    Args:
        vm_reference: What machines to make, a dict: `publisher`, `offer`, `sku`, `version` of the image (it has to have
            bash, cloud-init and what workers need), `vm_size`, `disk_size_gb`, `admin_username` and, unless there is a
            `key_name`, `password`.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        worker_init: Bash text to run on the machine before the command.
        location: Azure's name of the region.
        group_name: Resource group to make things in.
        key_name: SSH public key, a resource of that group, for the administrator to log in with.
        key_file: JSON file with AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID and AZURE_SUBSCRIPTION_ID; None
            for the credentials that Azure's library finds and AZURE_SUBSCRIPTION_ID of the environment.
        vnet_name: Virtual network of the machines.
        linger: Leave machines on when their command has ended or they are to be ended; you end them.
        launcher: Starts the command on the machine; None for a SingleNodeLauncher.
        credential: Credential object of azure.identity, in place of `key_file`.
        subscription_id: The subscription that pays, in place of AZURE_SUBSCRIPTION_ID.
        client_options: Options for the clients of Azure's library, such as `{"base_url": "https://..."}`.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant, or `vm_reference` lacks something.
    """

    label = "azure"

    @check_types
    def __init__(
        self,
        vm_reference: dict[str, Any],
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 10,
        parallelism: float = 1,
        worker_init: str = "",
        location: str = "westus",
        group_name: str = "parsl.group",
        key_name: str | None = None,
        key_file: str | None = None,
        vnet_name: str = "parsl.vnet",
        linger: bool = False,
        launcher: AnyLauncher | None = None,
        *,
        credential: Any = None,
        subscription_id: str | None = None,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            nodes_per_block=1,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
        )
        missing = [key for key in _NEEDED if key not in vm_reference]
        if key_name is None and "password" not in vm_reference:
            missing.append("password")
        if missing:
            raise ConfigurationError(f"AzureProvider: vm_reference has no {', '.join(missing)}")
        self.vm_reference = shapes.VMReference(vm_reference)
        self.worker_init = worker_init
        self.location = location
        self.group_name = group_name
        self.key_name = key_name
        self.key_file = key_file
        self.vnet_name = vnet_name
        self.linger = linger
        self.launcher = launcher_or_default(launcher)
        self.credential = credential
        self.subscription_id = subscription_id
        self.client_options = client_options
        self._compute: Any = None
        self._network: Any = None
        self._subnet_id: str | None = None
        self._made_network = False
        self._made = 0

    # -- Azure ---------------------------------------------------------------------------------------------------

    def get_credentials(self) -> tuple[Any, str]:
        """Find the credential, and the subscription that pays.

        Returns:
            A credential object of azure.identity, and the id of the subscription.

        Raises:
            ConfigurationError: `key_file` can't be used, or no subscription is named.
        """
        if self.credential is not None and self.subscription_id is not None:
            return self.credential, self.subscription_id
        identity = load_sdk("azure", "azure.identity")
        if self.credential is None and self.key_file is not None:
            try:
                with open(os.path.expanduser(self.key_file), encoding="utf-8") as file:
                    keys = json.load(file)
                credential = identity.ClientSecretCredential(
                    keys["AZURE_TENANT_ID"], keys["AZURE_CLIENT_ID"], keys["AZURE_CLIENT_SECRET"]
                )
                return credential, str(self.subscription_id or keys["AZURE_SUBSCRIPTION_ID"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                message = f"AzureProvider: key_file {self.key_file} can't be used: {error!r}"
                raise ConfigurationError(message) from error
        subscription = self.subscription_id or os.environ.get("AZURE_SUBSCRIPTION_ID")
        if not subscription:
            raise ConfigurationError("AzureProvider: no subscription: give key_file, or set AZURE_SUBSCRIPTION_ID")
        return self.credential or identity.DefaultAzureCredential(), subscription

    def get_clients(self) -> tuple[Any, Any]:
        """Make the clients for machines and for networks, or return those that were made."""
        if self._compute is None:
            compute = load_sdk("azure", "azure.mgmt.compute")
            network = load_sdk("azure", "azure.mgmt.network")
            credential, subscription = self.get_credentials()
            options = {**_REQUEST, **(self.client_options or {})}
            self._compute = compute.ComputeManagementClient(credential, subscription, **options)
            self._network = network.NetworkManagementClient(credential, subscription, **options)
        return self._compute, self._network

    def _sdk_errors(self) -> tuple[type[Exception], ...]:
        # ValueError: an answer that is no JSON.
        return (load_sdk("azure", "azure.core.exceptions").AzureError, ValueError)

    def _words(self, error: Exception) -> str:
        return str(getattr(error, "message", "") or error).strip()

    def _not_found(self) -> type[Exception]:
        missing: type[Exception] = load_sdk("azure", "azure.core.exceptions").ResourceNotFoundError
        return missing

    def _use_network(self, client: Any) -> str:
        """Find the subnet, or make it with its network; return its id."""
        if self._subnet_id is not None:
            return self._subnet_id
        group, name = self.group_name, self.vnet_name
        try:
            found = client.virtual_networks.get(group, name, cls=_raw)
        except self._not_found():
            wanted = shapes.network(self.location, self.run_id)
            self._made_network = True
            found = client.virtual_networks.begin_create_or_update(group, name, _body(wanted), cls=_raw).result()
        subnets = found["properties"].get("subnets", [])
        if not subnets:
            raise ConfigurationError(f"AzureProvider: the virtual network {name} has no subnet")
        ours = [subnet for subnet in subnets if subnet["name"] == shapes.SUBNET]
        self._subnet_id = str((ours or subnets)[0]["id"])
        return self._subnet_id

    def create_nic(self, network_client: Any) -> str:
        """Make a network interface with a public address.

        Args:
            network_client: The second of `get_clients`.

        Returns:
            Its id.
        """
        subnet = self._use_network(network_client)
        name = self._next_name("nic")
        wanted = shapes.public_address(self.location, self.run_id)
        addresses, interfaces = network_client.public_ip_addresses, network_client.network_interfaces
        address = addresses.begin_create_or_update(self.group_name, name, _body(wanted), cls=_raw).result()
        wanted = shapes.network_interface(self.location, self.run_id, subnet, address["id"])
        interface = interfaces.begin_create_or_update(self.group_name, name, _body(wanted), cls=_raw).result()
        return str(interface["id"])

    def create_disk(self) -> str:
        """Make an empty disk of `disk_size_gb` that belongs to no machine; `teardown` deletes it. Return its id."""
        compute, _ = self.get_clients()
        wanted = {
            "location": self.location,
            "tags": {shapes.RUN_TAG: self.run_id},
            "properties": {
                "creationData": {"createOption": "Empty"},
                "diskSizeGB": self.vm_reference["disk_size_gb"],
            },
        }
        name = self._next_name("disk")
        making = compute.disks.begin_create_or_update(self.group_name, name, _body(wanted), cls=_raw)
        return str(making.result()["id"])

    def create_vm_parameters(self, nic_id: str, vm_reference: Mapping[str, Any]) -> dict[str, Any]:
        """Describe a machine in the words of Azure's REST interface.

        Args:
            nic_id: Id of its network interface.
            vm_reference: See the class.
        """
        public_key = None
        if self.key_name is not None:
            compute, _ = self.get_clients()
            found = compute.ssh_public_keys.get(self.group_name, self.key_name, cls=_raw)
            public_key = str(found["properties"]["publicKey"])
        return shapes.machine(self.location, self.run_id, nic_id, vm_reference, public_key)

    def _next_name(self, kind: str) -> str:
        self._made += 1
        return f"parsl-{self.run_id}-{kind}-{self._made}"

    # -- blocks --------------------------------------------------------------------------------------------------

    def _start(self, launch: str, job_name: str) -> str:
        name = self._next_name("vm")
        script = machine_script(self.worker_init, launch, name, power_off=not self.linger)
        compute, network = self.get_clients()
        atexit.register(self.goodbye)
        nic_id = None
        try:
            nic_id = self.create_nic(network)
            wanted = shapes.with_script(self.create_vm_parameters(nic_id, self.vm_reference), script)
            # The machine is asked for when this returns; it takes minutes, which are not waited for.
            compute.virtual_machines.begin_create_or_update(self.group_name, name, _body(wanted), polling=False)
        except self._sdk_errors():
            if nic_id is not None:
                self._forget_nic(network, nic_id.rpartition("/")[2])
            raise
        return self._add(name, job_name, mark=name)

    def _forget_nic(self, network: Any, name: str) -> None:
        """Delete the network interface of a machine that was not made."""
        try:
            network.network_interfaces.begin_delete(self.group_name, name, polling=False)
        except self._sdk_errors() as error:
            logger.warning("%s: network interface %s is still there: %s", self.label, name, self._words(error))

    def _look(self, job_ids: list[str]) -> dict[str, JobStatus]:
        return {job_id: self._status_of(job_id) for job_id in job_ids}

    def _status_of(self, job_id: str) -> JobStatus:
        machines = self.get_clients()[0].virtual_machines
        try:
            answer = machines.get(self.group_name, job_id, expand="instanceView", cls=_raw)
        except self._not_found():
            return JobStatus(JobState.CANCELLED, "the machine was deleted from outside")
        return shapes.parse_status(answer) or self._switched_off(job_id, "the machine switched itself off")

    def _console(self, job_id: str) -> str:
        import urllib.request

        machines = self.get_clients()[0].virtual_machines
        address = machines.retrieve_boot_diagnostics_data(self.group_name, job_id, cls=_raw)["serialConsoleLogBlobUri"]
        try:
            with urllib.request.urlopen(address, timeout=_REQUEST["read_timeout"]) as answer:  # noqa: S310 - Azure's own
                text: bytes = answer.read()
        except OSError as error:
            logger.info("%s: the console of %s can't be fetched: %s", self.label, job_id, error)
            return ""
        return text.decode(errors="replace")

    def _release(self, job_id: str) -> None:
        self._delete_machine(job_id)

    def _end(self, job_ids: list[str]) -> dict[str, str]:
        return self._each(job_ids, self._delete_machine)

    def _delete_machine(self, name: str) -> None:
        """Delete a machine, and with it its disk, network interface and address. It does not wait for that."""
        machines = self.get_clients()[0].virtual_machines
        try:
            machines.begin_delete(self.group_name, name, polling=False)
        except self._not_found():
            logger.debug("%s: there is no machine %s to delete", self.label, name)

    # -- the end -------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Delete all that this provider made, in an order that Azure takes; wait until that is done.

        Raises:
            ExecutionProviderException: Something is still there; the text says what, and Azure's reason.
        """
        compute, network = self.get_clients()
        left: dict[str, str] = {}
        for kind in _KINDS:
            resources = getattr(compute, kind, None) or getattr(network, kind)
            try:
                # Of those that have both, `list` is for the whole subscription.
                listed = getattr(resources, "list_by_resource_group", resources.list)(self.group_name)
                found = [one.name for one in listed if self._is_ours(one)]
            except self._sdk_errors() as error:
                left[kind] = self._words(error)
                continue
            left.update(self._each(found, functools.partial(self._delete, resources)))
        if self._made_network:
            networks = network.virtual_networks
            left.update(self._each([self.vnet_name], functools.partial(self._delete, networks)))
        if left:
            words = "; ".join(f"{name}: {why}" for name, why in left.items())
            raise ExecutionProviderException(f"{self.label}: not all could be deleted: {words}")
        self._subnet_id, self._made_network = None, False
        atexit.unregister(self.goodbye)

    def _delete(self, resources: Any, name: str) -> None:
        """Delete a resource of a kind, and wait until it is gone."""
        resources.begin_delete(self.group_name, name).result()

    def _is_ours(self, resource: Any) -> bool:
        return bool((resource.tags or {}).get(shapes.RUN_TAG) == self.run_id)

    def goodbye(self) -> None:
        """Leave, at the end of the program: all is deleted but what `linger` keeps."""
        atexit.unregister(self.goodbye)
        if self.linger:
            logger.warning("%s: linger is set, so what has the tag %s is left", self.label, self.run_id)
            return
        try:
            self.teardown()
        except ExecutionProviderException:
            logger.exception("%s: something is left behind", self.label)


def _body(wanted: dict[str, Any]) -> bytes:
    """Write a request as Azure's library passes it on untouched, in all its releases."""
    return json.dumps(wanted).encode()


def _raw(response: Any, _deserialized: object, _headers: object) -> Any:
    """Have Azure's library return the JSON of an answer: its objects differ from release to release."""
    return json.loads(response.http_response.text())
