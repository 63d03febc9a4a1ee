"""Clouds are played by the least that a provider asks of its vendor's library."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from parsl.doctor.clouds import check_cloud, check_sdk
from parsl.errors import ConfigurationError
from parsl.providers import AWSProvider, AzureProvider, GoogleCloudProvider, KubernetesProvider, LocalProvider
from tests.doctor.fakes import FakeProbe, bad, marks

VM = {"publisher": "p", "offer": "o", "sku": "s", "version": "v", "vm_size": "z", "disk_size_gb": 1}
AZURE = {**VM, "admin_username": "a", "password": "x"}


@pytest.mark.parametrize(
    ("provider", "extra"),
    [
        (KubernetesProvider(image="x"), "kubernetes"),
        (AWSProvider(image_id="i", key_name="k"), "aws"),
        (AzureProvider(vm_reference=AZURE), "azure"),
        (GoogleCloudProvider("p", None, "r", "o", "f"), "google_cloud"),
    ],
)
def test_library(provider, extra):
    assert marks(check_sdk(provider, FakeProbe())) == [("ok", "library")]
    (finding,) = check_sdk(provider, FakeProbe(has_module=False))
    assert (finding.mark.value, finding.remedy) == ("FAIL", f"pip install 'parsl[{extra}]'")


def test_no_cloud():
    assert not list(check_sdk(LocalProvider(), FakeProbe(has_module=False)))
    assert not list(check_cloud(LocalProvider()))


# -- Kubernetes --------------------------------------------------------------------------------------------------------


class ApiError(Exception):
    def __init__(self, status, message):
        super().__init__(f"({status})")
        self.status = status
        self.body = json.dumps({"message": message})


class FakeKubernetes:
    """The three requests that the doctor makes; `trouble` is raised by those that it names."""

    def __init__(self, monkeypatch, *, forbidden=(), **trouble):
        self.forbidden = forbidden
        self.trouble = trouble
        self.api_client = object()
        client = ModuleType("kubernetes.client")
        client.AuthorizationV1Api = lambda api_client: self
        monkeypatch.setitem(sys.modules, "kubernetes", ModuleType("kubernetes"))
        monkeypatch.setitem(sys.modules, "kubernetes.client", client)

    def _try(self, verb):
        if verb in self.trouble:
            raise self.trouble[verb]

    def list_namespaced_pod(self, namespace, limit, **options):
        self._try("list")

    def read_namespace(self, name, **options):
        self._try("read")

    def create_self_subject_access_review(self, review, **options):
        self._try("review")
        verb = review["spec"]["resourceAttributes"]["verb"]
        return SimpleNamespace(data=json.dumps({"status": {"allowed": verb not in self.forbidden}}).encode())


def kubernetes(api):
    provider = KubernetesProvider(image="x", namespace="mine")
    provider._api = api
    return list(check_cloud(provider))


def test_kubernetes_all_well(monkeypatch):
    checks = ["cluster", "namespace", "permission"]
    assert marks(kubernetes(FakeKubernetes(monkeypatch))) == [("ok", check) for check in checks]


def test_kubernetes_refuses(monkeypatch):
    (finding,) = kubernetes(FakeKubernetes(monkeypatch, list=ApiError(401, "Unauthorized")))
    assert (finding.mark.value, finding.reason) == ("FAIL", "ApiError: Unauthorized")
    assert "KUBECONFIG" in finding.remedy


def test_kubernetes_without_cluster(monkeypatch):
    class Without(KubernetesProvider):
        @property
        def api(self):
            raise ConfigurationError("KubernetesProvider: no cluster that can be used")

    (finding,) = check_cloud(Without(image="x"))
    assert finding.reason == "ConfigurationError: KubernetesProvider: no cluster that can be used"


def test_kubernetes_namespace(monkeypatch):
    (finding,) = bad(kubernetes(FakeKubernetes(monkeypatch, read=ApiError(404, "not found"))))
    assert finding.text == "there is no namespace 'mine'"
    # Who may not look at namespaces may yet use this one.
    assert not bad(kubernetes(FakeKubernetes(monkeypatch, read=ApiError(403, "forbidden"))))


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_kubernetes_permission(monkeypatch, verb):
    (finding,) = bad(kubernetes(FakeKubernetes(monkeypatch, forbidden=[verb])))
    assert (finding.mark.value, finding.text) == ("FAIL", f"you may not {verb} pods in namespace 'mine'")


def test_kubernetes_permission_unknown(monkeypatch):
    (finding,) = bad(kubernetes(FakeKubernetes(monkeypatch, review=ApiError(403, "no reviews"))))
    assert (finding.mark.value, finding.reason) == ("warn", "ApiError: no reviews")


# -- the others --------------------------------------------------------------------------------------------------------


class FakeAWS(AWSProvider):
    credentials: object = object()
    images: tuple[str, ...] = ("i",)
    keys: tuple[str, ...] = ("k",)

    def create_session(self):
        return SimpleNamespace(get_credentials=lambda: self.credentials)

    def initialize_boto_client(self):
        return SimpleNamespace(
            describe_images=lambda ImageIds: {"Images": [i for i in ImageIds if i in self.images]},
            describe_key_pairs=lambda KeyNames: {"KeyPairs": [k for k in KeyNames if k in self.keys]},
        )


def test_aws():
    checks = ["credentials", "image", "key pair"]
    assert marks(check_cloud(FakeAWS(image_id="i", key_name="k"))) == [("ok", check) for check in checks]
    assert marks(check_cloud(FakeAWS(image_id="i", key_name=""))) == [("ok", check) for check in checks[:2]]
    found = bad(check_cloud(FakeAWS(image_id="other", key_name="lost")))
    assert marks(found) == [("FAIL", "image"), ("FAIL", "key pair")]
    assert "us-east-2" in found[0].text


def test_aws_without_credentials():
    provider = FakeAWS(image_id="i", key_name="k")
    provider.credentials = None
    (finding,) = check_cloud(provider)
    assert (finding.mark.value, finding.check) == ("FAIL", "credentials")
    assert "aws configure" in finding.remedy


@pytest.mark.parametrize("trouble", [None, ConfigurationError("AzureProvider: no subscription")])
def test_azure(trouble):
    class FakeAzure(AzureProvider):
        def get_clients(self):
            if trouble:
                raise trouble
            return SimpleNamespace(virtual_machines=SimpleNamespace(list=lambda group: [])), None

    (finding,) = check_cloud(FakeAzure(vm_reference=AZURE))
    assert (finding.mark.value, finding.check) == ("FAIL" if trouble else "ok", "credentials")
    assert (str(trouble) in finding.reason) is (trouble is not None)


@pytest.mark.parametrize("trouble", [None, ConfigurationError("no zone")])
def test_google(trouble):
    class FakeGoogle(GoogleCloudProvider):
        def get_zone(self, region):
            if trouble:
                raise trouble
            return f"{region}-a"

    (finding,) = check_cloud(FakeGoogle("p", None, "r", "o", "f"))
    assert (finding.mark.value, finding.check) == ("FAIL" if trouble else "ok", "credentials")
