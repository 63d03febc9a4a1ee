from __future__ import annotations

import base64

import pytest

from parsl.jobs.states import JobState
from parsl.providers.azure.machine import VMReference, machine, parse_status, with_script

REFERENCE = {
    "publisher": "Canonical",
    "offer": "ubuntu-24_04-lts",
    "sku": "server",
    "version": "latest",
    "vm_size": "Standard_D2s_v5",
    "disk_size_gb": 64,
    "admin_username": "me",
    "password": "Secret-1",
}


def answer(*codes, provisioning="Succeeded", message=None):
    """A machine with its instance view, as Azure describes it."""
    statuses = [{"code": code, "level": "Info", "displayStatus": code.partition("/")[2]} for code in codes]
    if message is not None:
        statuses[0]["message"] = message
    return {"name": "vm", "properties": {"provisioningState": provisioning, "instanceView": {"statuses": statuses}}}


TABLE = [
    (answer("ProvisioningState/creating", provisioning="Creating"), JobState.PENDING, None),
    (answer(provisioning="Creating"), JobState.PENDING, None),
    (answer("ProvisioningState/succeeded", "PowerState/starting"), JobState.PENDING, None),
    (answer("ProvisioningState/succeeded", "PowerState/running"), JobState.RUNNING, None),
    (answer("ProvisioningState/updating", "PowerState/running"), JobState.RUNNING, None),
    (answer("ProvisioningState/succeeded", "PowerState/stopping"), JobState.UNKNOWN, "stopping"),
    (answer("ProvisioningState/succeeded", "PowerState/deallocating"), JobState.UNKNOWN, "deallocating"),
    (answer("ProvisioningState/succeeded", "PowerState/deallocated"), JobState.CANCELLED, "deallocated"),
    (answer("ProvisioningState/succeeded", "PowerState/new"), JobState.UNKNOWN, "new"),
    (answer("ProvisioningState/deleting", provisioning="Deleting"), JobState.UNKNOWN, None),
    (answer(), JobState.UNKNOWN, None),
    ({}, JobState.UNKNOWN, None),
    (
        answer("ProvisioningState/failed/AllocationFailed", provisioning="Failed", message="Not enough capacity."),
        JobState.FAILED,
        "AllocationFailed: Not enough capacity.",
    ),
    (answer(provisioning="Failed"), JobState.FAILED, "could not be made"),
]


@pytest.mark.parametrize(("described", "state", "words"), TABLE)
def test_status_of_a_machine(described, state, words):
    status = parse_status(described)
    assert status is not None
    assert status.state is state
    assert (status.message is None) if words is None else (words in str(status.message))


def test_a_machine_that_switched_itself_off_has_no_status_of_its_own():
    assert parse_status(answer("ProvisioningState/succeeded", "PowerState/stopped")) is None


def test_all_of_a_machine_is_deleted_with_it():
    described = machine("westus", "run", "nic-id", REFERENCE, None)["properties"]
    assert described["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert described["storageProfile"]["osDisk"]["diskSizeGB"] == 64
    (nic,) = described["networkProfile"]["networkInterfaces"]
    assert nic == {"id": "nic-id", "properties": {"primary": True, "deleteOption": "Delete"}}


def test_log_in_with_password_or_key():
    profile = machine("westus", "run", "nic", REFERENCE, None)["properties"]["osProfile"]
    assert profile == {"computerName": "parsl", "adminUsername": "me", "adminPassword": "Secret-1"}
    without = {key: value for key, value in REFERENCE.items() if key != "password"}
    profile = machine("westus", "run", "nic", without, "ssh-ed25519 AAAA")["properties"]["osProfile"]
    assert "adminPassword" not in profile
    assert profile["linuxConfiguration"] == {
        "disablePasswordAuthentication": True,
        "ssh": {"publicKeys": [{"path": "/home/me/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA"}]},
    }


def test_the_script_is_added_and_the_rest_is_kept():
    before = machine("westus", "run", "nic", REFERENCE, None)
    after = with_script(before, "echo ä")
    assert base64.b64decode(after["properties"]["osProfile"].pop("customData")).decode() == "echo ä"
    assert after == before


def test_the_password_is_not_shown():
    assert "Secret-1" not in repr(VMReference(REFERENCE))
    assert "Canonical" in repr(VMReference(REFERENCE))
    assert VMReference(REFERENCE)["password"] == "Secret-1"
