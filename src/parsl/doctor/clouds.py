"""Checks of clouds: the vendor's library, credentials, and whether images and the like are there. Nothing is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from parsl.doctor.findings import Finding, fail, ok, warn
from parsl.doctor.probe import Probe

__all__ = ["check_cloud", "check_sdk"]

_LIMITS = (5, 20)
"""Seconds to connect to the Kubernetes API, and for its answer."""


def check_sdk(provider: Any, probe: Probe) -> Iterator[Finding]:
    """See whether the vendor's library is installed."""
    known = _entry(provider)
    if known is None:
        return
    extra, modules, _ = known
    missing = [module for module in modules if not probe.has_module(module)]
    if missing:
        reason = f"{type(provider).__name__} needs {', '.join(missing)}"
        yield fail("library", "the cloud's own library is not installed", reason, f"pip install 'parsl[{extra}]'")
    else:
        yield ok("library", f"{', '.join(modules)} can be imported")


def check_cloud(provider: Any) -> Iterator[Finding]:
    """Ask the cloud what can be asked without making anything: it proves credentials, region and names."""
    known = _entry(provider)
    if known is not None:
        yield from known[2](provider)


def _entry(provider: Any) -> tuple[str, tuple[str, ...], Callable[[Any], Iterator[Finding]]] | None:
    return next((_CLOUDS[kind.__name__] for kind in type(provider).__mro__ if kind.__name__ in _CLOUDS), None)


def _asked(check: str, good: str, bad: str, remedy: str, ask: Callable[[], object]) -> Finding:
    """Ask one thing; what the vendor's library raises is the reason."""
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - each library has exceptions of its own, and each means no
        body = getattr(error, "body", None)
        return fail(check, bad, f"{type(error).__name__}: {_message(body) or error}", remedy)
    return ok(check, good)


def _message(body: Any) -> str:
    """Take the words out of an answer of the Kubernetes API."""
    try:
        answer = json.loads(body) if body else {}
    except (ValueError, TypeError):
        return ""
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def _kubernetes(provider: Any) -> Iterator[Finding]:
    space = provider.namespace

    def list_pods() -> None:
        provider.api.list_namespaced_pod(space, limit=1, _preload_content=False, _request_timeout=_LIMITS)

    remedy = f"see whether `kubectl get pods -n {space}` works here; KUBECONFIG names the file that says which cluster"
    listed = _asked("cluster", "the cluster answers", "pods cannot be listed", remedy, list_pods)
    yield listed
    if listed.reason:
        return
    yield from _namespace(provider, space)
    yield from _may_make_pods(provider, space)


def _namespace(provider: Any, space: str) -> Iterator[Finding]:
    try:
        provider.api.read_namespace(space, _preload_content=False, _request_timeout=_LIMITS)
    except Exception as error:  # noqa: BLE001 - see `_asked`; who may not read namespaces may yet use one
        if getattr(error, "status", None) == 404:
            yield fail("namespace", f"there is no namespace {space!r}", remedy=f"kubectl create namespace {space}")
    else:
        yield ok("namespace", f"namespace {space!r} is there")


def _may_make_pods(provider: Any, space: str) -> Iterator[Finding]:
    from parsl.providers.cloud import load_sdk

    client = load_sdk("kubernetes", "kubernetes.client")
    for verb in ("create", "delete"):
        attributes = {"namespace": space, "verb": verb, "resource": "pods"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        try:
            answer = client.AuthorizationV1Api(provider.api.api_client).create_self_subject_access_review(
                review, _preload_content=False, _request_timeout=_LIMITS
            )
            allowed = bool(json.loads(answer.data).get("status", {}).get("allowed"))
        except Exception as error:  # noqa: BLE001 - see `_asked`
            reason = f"{type(error).__name__}: {_message(getattr(error, 'body', None)) or error}"
            yield warn("permission", f"whether you may {verb} pods cannot be told", reason)
            return
        if not allowed:
            remedy = f"ask for a role that may create, list and delete pods in namespace {space}"
            yield fail("permission", f"you may not {verb} pods in namespace {space!r}", remedy=remedy)
            return
    yield ok("permission", "pods may be created and deleted")


def _aws(provider: Any) -> Iterator[Finding]:
    clients: list[Any] = []
    remedy = "`aws configure`, or name a profile= or key_file=; `aws sts get-caller-identity` shows who you are"

    def credentials() -> None:
        if provider.create_session().get_credentials() is None:
            raise LookupError("boto3 finds no credentials")
        clients.append(provider.initialize_boto_client())

    found = _asked("credentials", "credentials found", "no credentials for EC2", remedy, credentials)
    yield found
    if not clients:
        return
    client, region = clients[0], provider.region
    yield _asked(
        "image",
        f"image {provider.image_id} is there",
        f"image {provider.image_id} cannot be used in {region}",
        "image ids differ from region to region; see `aws ec2 describe-images`",
        lambda: _not_empty(client.describe_images(ImageIds=[provider.image_id])["Images"]),
    )
    if not provider.key_name:
        return
    yield _asked(
        "key pair",
        f"key pair {provider.key_name!r} is there",
        f"key pair {provider.key_name!r} cannot be used in {region}",
        "see `aws ec2 describe-key-pairs`",
        lambda: _not_empty(client.describe_key_pairs(KeyNames=[provider.key_name])["KeyPairs"]),
    )


def _not_empty(found: list[Any]) -> None:
    if not found:
        raise LookupError("there is none of that name")


def _azure(provider: Any) -> Iterator[Finding]:
    remedy = "`az login`, or a key_file= that can be read; create the group with `az group create`"
    group = provider.group_name
    yield _asked(
        "credentials",
        f"machines of resource group {group!r} can be listed",
        f"machines of resource group {group!r} cannot be listed",
        remedy,
        lambda: next(iter(provider.get_clients()[0].virtual_machines.list(group)), None),
    )


def _google(provider: Any) -> Iterator[Finding]:
    remedy = "see whether the key_file can be read, its account may use Compute Engine, and the region's name is right"
    region, project = provider.region, provider.project_id
    yield _asked(
        "credentials",
        f"project {project!r} may use zones of {region!r}",
        f"no zone of {region!r} can be used by project {project!r}",
        remedy,
        lambda: provider.get_zone(region),
    )


_CLOUDS: dict[str, tuple[str, tuple[str, ...], Callable[[Any], Iterator[Finding]]]] = {
    "KubernetesProvider": ("kubernetes", ("kubernetes",), _kubernetes),
    "AWSProvider": ("aws", ("boto3",), _aws),
    "AzureProvider": ("azure", ("azure.identity", "azure.mgmt.compute", "azure.mgmt.network"), _azure),
    "GoogleCloudProvider": ("google_cloud", ("google.cloud.compute_v1",), _google),
}
"""By the provider's class: the extra, the modules that it brings, and how to ask the cloud."""
