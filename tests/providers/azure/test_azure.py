"""Against Azure's own library and a fake of the routes of its REST interface that it calls."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.providers import AzureProvider
from parsl.providers.errors import ExecutionProviderException, SubmitException
from tests.cloud_server import Answer, Request, serve
from tests.cloud_services import record_proof

pytest.importorskip("azure.mgmt.compute")
pytest.importorskip("azure.mgmt.network")
pytest.importorskip("azure.identity")
policies = pytest.importorskip("azure.core.pipeline.policies")
core = pytest.importorskip("azure.core.credentials")

GROUP = "/subscriptions/sub-1/resourceGroups/group/providers"
REFERENCE = {
    "publisher": "Canonical",
    "offer": "ubuntu",
    "sku": "server",
    "version": "latest",
    "vm_size": "Standard_D2s_v5",
    "disk_size_gb": 64,
    "admin_username": "me",
    "password": "Secret-1",
}


def failure(code: int, reason: str, message: str) -> Answer:
    return Answer(code, {"error": {"code": reason, "message": message}})


class Azure:
    """Resources by path; requests whose path has `broken` in it get `refusal` instead."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        self.consoles: dict[str, str] = {}
        self.broken: str | None = None
        self.refusal = failure(500, "InternalError", "Try later.")
        self.url = ""

    def answer(self, request: Request) -> Answer:
        path = request.path
        if self.broken is not None and self.broken in path:
            return self.refusal
        if path.startswith("/console/"):
            return Answer(200, self.consoles[path.rpartition("/")[2]])
        match = re.fullmatch(rf"{GROUP}/Microsoft\.\w+/(\w+)(?:/([^/]+))?(/retrieveBootDiagnosticsData)?", path)
        assert match, request
        kind, name, console = match.groups()
        if console:
            return Answer(200, {"serialConsoleLogBlobUri": f"{self.url}/console/{name}"})
        if name is None:
            return Answer(200, {"value": [r for p, r in self.resources.items() if p.startswith(f"{path}/")]})
        if request.verb == "PUT":
            return self.put(kind, name, path, request.body)
        if path not in self.resources:
            return failure(404, "ResourceNotFound", f"The Resource '{name}' was not found.")
        return Answer(200, self.resources.pop(path) if request.verb == "DELETE" else self.resources[path])

    def put(self, kind: str, name: str, path: str, body: dict[str, Any]) -> Answer:
        for subnet in body["properties"].get("subnets", []):
            subnet["id"] = f"{path}/subnets/{subnet['name']}"
        state = "Creating" if kind == "virtualMachines" else "Succeeded"
        body = {**body, "id": path, "name": name, "type": kind}
        body["properties"] = {**body["properties"], "provisioningState": state}
        self.resources[path] = body
        return Answer(200 if kind == "disks" else 201, body)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [resource for resource in self.resources.values() if resource["type"] == kind]

    def power(self, name: str, state: str) -> None:
        path = f"{GROUP}/Microsoft.Compute/virtualMachines/{name}"
        statuses = [{"code": "ProvisioningState/succeeded"}, {"code": f"PowerState/{state}"}]
        self.resources[path]["properties"].update(provisioningState="Succeeded", instanceView={"statuses": statuses})


class Credential:
    def get_token(self, *scopes: str, **options: Any):
        return core.AccessToken("token", 2**40)


@pytest.fixture
def azure():
    azure = Azure()
    with serve(azure.answer) as server:
        azure.url = server.url
        azure.requests = server.requests
        yield azure


@pytest.fixture
def make(azure, tmp_path, record_property):
    """Make providers, of which nothing may be left at the end of the test."""
    record_proof(record_property, "AzureProvider", "SingleNodeLauncher", "azure-routes")
    providers = []
    before = dict(azure.resources)

    def make(**arguments):
        given = {
            "vm_reference": REFERENCE,
            "group_name": "group",
            "credential": Credential(),
            "subscription_id": "sub-1",
            # The library sends tokens over https alone.
            "client_options": {
                "base_url": azure.url,
                "authentication_policy": policies.SansIOHTTPPolicy(),
                "retry_total": 0,
            },
            **arguments,
        }
        provider = AzureProvider(**given)
        provider.script_dir = str(tmp_path)
        provider.now = 0.0
        provider._clock = lambda: provider.now
        providers.append(provider)
        return provider

    yield make
    azure.broken = None
    for provider in providers:
        provider.linger = False
        provider.goodbye()
        for client in provider.get_clients():
            client.close()
    assert azure.resources == before


def look(provider, job):
    provider.now += 1000
    return provider.status([job])[0]


# Submission


def test_a_machine_with_its_network_is_asked_for(azure, make):
    provider = make(worker_init="source env")
    job = provider.submit("run this", 1, "parsl.block-0")
    (machine,), (nic,) = azure.of("virtualMachines"), azure.of("networkInterfaces")
    (network,), (address,) = azure.of("virtualNetworks"), azure.of("publicIPAddresses")
    assert {r["tags"]["parsl-run"] for r in (machine, nic, network, address)} == {provider.run_id}
    assert (machine["name"], machine["location"]) == (job, "westus")
    assert machine["properties"]["networkProfile"]["networkInterfaces"][0]["id"] == nic["id"]
    (configuration,) = nic["properties"]["ipConfigurations"]
    assert configuration["properties"]["subnet"]["id"] == network["properties"]["subnets"][0]["id"]
    assert configuration["properties"]["publicIPAddress"]["id"] == address["id"]
    script = base64.b64decode(machine["properties"]["osProfile"]["customData"]).decode()
    assert "source env" in script
    assert "run this" in script
    assert provider.resources[job]["job_name"] == "parsl.block-0"
    provider.submit("run this", 1)
    assert len(azure.of("virtualNetworks")) == 1


def test_a_network_that_is_there_is_used_and_left(azure, make):
    path = f"{GROUP}/Microsoft.Network/virtualNetworks/parsl.vnet"
    theirs = {"id": path, "name": "parsl.vnet", "type": "virtualNetworks"}
    azure.resources[path] = {**theirs, "properties": {"subnets": [{"name": "default", "id": "their-subnet"}]}}
    provider = make()
    provider.submit("true", 1)
    (configuration,) = azure.of("networkInterfaces")[0]["properties"]["ipConfigurations"]
    assert configuration["properties"]["subnet"]["id"] == "their-subnet"
    provider.teardown()
    assert list(azure.resources) == [path]
    del azure.resources[path]


def test_a_network_without_subnets(azure, make):
    path = f"{GROUP}/Microsoft.Network/virtualNetworks/parsl.vnet"
    azure.resources[path] = {"id": path, "name": "parsl.vnet", "type": "virtualNetworks", "properties": {}}
    with pytest.raises(ConfigurationError, match="no subnet"):
        make().submit("true", 1)
    del azure.resources[path]


def test_a_key_of_the_group_is_used(azure, make):
    path = f"{GROUP}/Microsoft.Compute/sshPublicKeys/mine"
    key = {"id": path, "name": "mine", "type": "sshPublicKeys", "properties": {"publicKey": "ssh-ed25519 AAAA"}}
    azure.resources[path] = key
    make(key_name="mine").submit("true", 1)
    profile = azure.of("virtualMachines")[0]["properties"]["osProfile"]
    assert profile["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"] == "ssh-ed25519 AAAA"
    del azure.resources[path]


@pytest.mark.parametrize(
    ("where", "refusal"),
    [
        ("virtualMachines", failure(409, "OperationNotAllowed", "exceeding approved Total Regional Cores quota")),
        ("virtualMachines", failure(400, "InvalidParameter", "The value of parameter vmSize is invalid.")),
        ("virtualNetworks", failure(404, "ResourceGroupNotFound", "Resource group 'group' could not be found.")),
        ("networkInterfaces", failure(403, "AuthorizationFailed", "The client does not have authorization.")),
    ],
)
def test_a_refusal_carries_the_words_of_azure(azure, make, where, refusal):
    azure.broken, azure.refusal = where, refusal
    provider = make()
    with pytest.raises(SubmitException, match=re.escape(refusal.body["error"]["message"])):
        provider.submit("true", 1)
    assert azure.of("networkInterfaces") == []
    assert provider.resources == {}


def test_a_service_that_is_not_there(make, azure):
    provider = make()
    good = provider.client_options
    provider.client_options = {**good, "base_url": "http://127.0.0.1:9"}
    with pytest.raises(SubmitException, match="Connection refused"):
        provider.submit("true", 1)
    for client in provider.get_clients():
        client.close()
    provider._compute, provider.client_options = None, good


# Status


def test_the_life_of_a_block(azure, make):
    provider = make()
    job = provider.submit("true", 1)
    assert look(provider, job).state is JobState.PENDING
    for power, state in (("starting", JobState.PENDING), ("running", JobState.RUNNING), ("stopping", JobState.RUNNING)):
        azure.power(job, power)
        assert look(provider, job).state is state
    azure.power(job, "stopped")
    azure.consoles[job] = f"boot\nparsl-block {job} exit code 6\n"
    status = look(provider, job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 6)
    assert "boot" in status.stdout
    assert azure.of("virtualMachines") == []


def test_a_console_that_cannot_be_fetched(azure, make):
    provider = make()
    job = provider.submit("true", 1)
    azure.power(job, "stopped")
    azure.broken = "/console/"
    states = [look(provider, job).state for _ in range(3)]
    assert states == [JobState.PENDING, JobState.PENDING, JobState.FAILED]


def test_a_machine_deleted_from_outside(azure, make):
    provider = make()
    job = provider.submit("true", 1)
    del azure.resources[azure.of("virtualMachines")[0]["id"]]
    assert look(provider, job).state is JobState.CANCELLED


@pytest.mark.parametrize(
    "refusal", [failure(503, "ServerBusy", "The server is busy."), Answer(200, "<html>busy</html>")]
)
def test_a_service_that_fails(azure, make, refusal):
    provider = make()
    job = provider.submit("true", 1)
    azure.power(job, "running")
    look(provider, job)
    azure.broken, azure.refusal = "virtualMachines", refusal
    statuses = [look(provider, job) for _ in range(3)]
    assert {status.state for status in statuses} == {JobState.RUNNING}
    assert [status.message is None for status in statuses] == [True, True, False]


# The end


def test_cancel(azure, make, caplog):
    provider = make()
    jobs = [provider.submit("true", 1) for _ in range(2)]
    azure.broken, azure.refusal = jobs[0], failure(409, "Conflict", "Another operation is in progress.")
    assert provider.cancel(jobs) == [False, True]
    assert "Another operation" in caplog.text
    azure.broken = None
    assert provider.cancel(jobs) == [True, True]
    assert azure.of("virtualMachines") == []


def test_teardown_deletes_what_is_ours_and_says_what_is_left(azure, make):
    provider, other = make(), make()
    for one in (provider, other):
        one.submit("true", 1)
        one.create_disk()
    azure.broken, azure.refusal = "publicIPAddresses", failure(400, "InUse", "The address is in use.")
    with pytest.raises(ExecutionProviderException, match="The address is in use"):
        provider.teardown()
    azure.broken = None
    assert {r["tags"]["parsl-run"] for kind in ("virtualMachines", "disks") for r in azure.of(kind)} == {other.run_id}


def test_lingering_machines_are_left(azure, make):
    provider = make(linger=True)
    job = provider.submit("true", 1)
    script = base64.b64decode(azure.of("virtualMachines")[0]["properties"]["osProfile"]["customData"]).decode()
    assert "shutdown" not in script
    assert provider.cancel([job]) == [False]
    provider.goodbye()
    assert [machine["name"] for machine in azure.of("virtualMachines")] == [job]


# Configuration


@pytest.mark.parametrize("key", sorted(REFERENCE))
def test_a_reference_that_lacks_something(key):
    with pytest.raises(ConfigurationError, match=key):
        AzureProvider({k: v for k, v in REFERENCE.items() if k != key})


@pytest.mark.parametrize(
    ("arguments", "error"), [({"max_blocks": -1}, ConfigurationError), ({"location": None}, TypeError)]
)
def test_bad_arguments(arguments, error):
    with pytest.raises(error):
        AzureProvider(REFERENCE, **arguments)


def test_the_password_is_not_in_the_text_of_a_configuration():
    assert "Secret-1" not in repr(AzureProvider(REFERENCE))


def test_credentials_of_a_key_file(tmp_path):
    path = tmp_path / "key.json"
    names = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")
    path.write_text(json.dumps({name: f"my-{name.lower().replace('_', '-')}" for name in names}))
    credential, subscription = AzureProvider(REFERENCE, key_file=str(path)).get_credentials()
    assert type(credential).__name__ == "ClientSecretCredential"
    assert subscription == "my-azure-subscription-id"
    credential.close()


@pytest.mark.parametrize("text", [None, "no json", "{}", "[]"])
def test_a_bad_key_file(tmp_path, text):
    path = tmp_path / "key.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"key\.json"):
        AzureProvider(REFERENCE, key_file=str(path)).get_credentials()


def test_no_subscription(monkeypatch):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    with pytest.raises(ConfigurationError, match="AZURE_SUBSCRIPTION_ID"):
        AzureProvider(REFERENCE).get_credentials()
