"""What Azure is asked for, in the words of its REST interface, which are the same in all releases of its library."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from parsl.jobs.states import JobState, JobStatus

__all__ = ["VMReference", "machine", "network", "network_interface", "parse_status", "public_address", "with_script"]

RUN_TAG = "parsl-run"
"""Key of the tag that says which provider object made something."""

SUBNET = "parsl.subnet"

_GONE_WITH_IT = {"deleteOption": "Delete"}
_SECRET = "password"  # noqa: S105 - the name of the key

_POWER = {
    "starting": JobState.PENDING,
    "running": JobState.RUNNING,
    "stopping": JobState.UNKNOWN,
    "deallocating": JobState.UNKNOWN,
    "unknown": JobState.UNKNOWN,
}


class VMReference(dict[str, Any]):
    """What the user said of the machines; its text does not show the password, as configurations go to the log."""

    def __repr__(self) -> str:
        return repr({key: "..." if key == _SECRET else value for key, value in self.items()})


def public_address(location: str, run_id: str) -> dict[str, Any]:
    """Describe a public address, without which a machine can't reach the internet."""
    return {
        "location": location,
        "tags": {RUN_TAG: run_id},
        "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"},
    }


def network(location: str, run_id: str) -> dict[str, Any]:
    """Describe a virtual network with one subnet."""
    return {
        "location": location,
        "tags": {RUN_TAG: run_id},
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "subnets": [{"name": SUBNET, "properties": {"addressPrefix": "10.0.0.0/20"}}],
        },
    }


def network_interface(location: str, run_id: str, subnet_id: str, address_id: str) -> dict[str, Any]:
    """Describe a network interface, with which its address is deleted."""
    address = {"id": address_id, "properties": _GONE_WITH_IT}
    configuration = {"subnet": {"id": subnet_id}, "publicIPAddress": address, "primary": True}
    return {
        "location": location,
        "tags": {RUN_TAG: run_id},
        "properties": {"ipConfigurations": [{"name": "parsl", "properties": configuration}]},
    }


def machine(
    location: str, run_id: str, nic_id: str, reference: Mapping[str, Any], public_key: str | None
) -> dict[str, Any]:
    """Describe a machine, with which its disk and network interface are deleted.

    Args:
        location: Azure's name of the region.
        run_id: The provider's unique word.
        nic_id: Id of its network interface.
        reference: The user's `vm_reference`.
        public_key: For the administrator to log in with.
    """
    user = str(reference["admin_username"])
    profile: dict[str, Any] = {"computerName": "parsl", "adminUsername": user}
    if _SECRET in reference:
        profile["adminPassword"] = str(reference[_SECRET])
    if public_key is not None:
        keys = [{"path": f"/home/{user}/.ssh/authorized_keys", "keyData": public_key}]
        profile["linuxConfiguration"] = {
            "disablePasswordAuthentication": _SECRET not in reference,
            "ssh": {"publicKeys": keys},
        }
    disk = {"createOption": "FromImage", "diskSizeGB": reference["disk_size_gb"], **_GONE_WITH_IT}
    return {
        "location": location,
        "tags": {RUN_TAG: run_id},
        "properties": {
            "hardwareProfile": {"vmSize": reference["vm_size"]},
            "storageProfile": {
                "imageReference": {key: reference[key] for key in ("publisher", "offer", "sku", "version")},
                "osDisk": disk,
            },
            "osProfile": profile,
            "networkProfile": {"networkInterfaces": [{"id": nic_id, "properties": {"primary": True, **_GONE_WITH_IT}}]},
            # Keeps the console, which tells how a block ended.
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
        },
    }


def with_script(machine: dict[str, Any], script: str) -> dict[str, Any]:
    """Have cloud-init run a script when the machine has started."""
    profile = machine["properties"]["osProfile"]
    custom = {"customData": base64.b64encode(script.encode()).decode()}
    return {**machine, "properties": {**machine["properties"], "osProfile": {**profile, **custom}}}


def parse_status(answer: Mapping[str, Any]) -> JobStatus | None:
    """Read a machine's status, as Azure tells it with its instance view.

    Args:
        answer: The JSON of a machine.

    Returns:
        The status; None if the machine has switched itself off. UNKNOWN if that does not say more than was known.
    """
    properties = answer.get("properties", {})
    codes = {}
    for status in properties.get("instanceView", {}).get("statuses", []):
        kind, _, value = str(status.get("code", "")).partition("/")
        codes[kind] = (value, str(status.get("message") or status.get("displayStatus") or value))
    value, words = codes.get("ProvisioningState", (str(properties.get("provisioningState", "")), ""))
    if value.lower().startswith("failed"):
        return JobStatus(JobState.FAILED, f"the machine could not be made: {value}: {words}")
    power = codes.get("PowerState", ("", ""))[0].lower()
    if power == "stopped":
        return None
    if power == "deallocated":
        return JobStatus(JobState.CANCELLED, "the machine was deallocated: evicted, or by somebody")
    if power:
        state = _POWER.get(power, JobState.UNKNOWN)
        return JobStatus(state, f"the machine is {power}" if state is JobState.UNKNOWN else None)
    return JobStatus(JobState.PENDING if value.lower() == "creating" else JobState.UNKNOWN)
