"""Pods as the Kubernetes API describes them: what is asked for, and what their JSON says of a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parsl.jobs.states import JobState, JobStatus

__all__ = ["combined", "container", "parse_pod", "pod_spec"]

NEVER_STARTS = frozenset({"ErrImageNeverPull", "InvalidImageName"})
"""Reasons for which a container waits that no waiting mends."""

CANNOT_START = frozenset({
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "RegistryUnavailable",
    "RunContainerError",
})  # fmt: skip
"""Reasons for which a container waits that may pass, or may not."""

_LATE = "DeadlineExceeded"


def container(
    name: str,
    image: str,
    command: str,
    requests: Mapping[str, str],
    limits: Mapping[str, str],
    volumes: Sequence[tuple[str, str]],
    security: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe the one container of a pod.

    Args:
        name: Its name.
        image: Its image.
        command: Bash text that it runs.
        requests: Resources that it is promised.
        limits: Resources that it gets at most.
        volumes: Claims, and where each is mounted.
        security: Its security context.
    """
    described: dict[str, Any] = {
        "name": name,
        "image": image,
        "command": ["/bin/bash"],
        "args": ["-c", command],
        "resources": {"requests": dict(requests), "limits": dict(limits)},
        "volumeMounts": [{"name": f"volume-{n}", "mountPath": path} for n, (_, path) in enumerate(volumes)],
    }
    if security:
        described["securityContext"] = dict(security)
    return described


def pod_spec(
    container: dict[str, Any], volumes: Sequence[tuple[str, str]], secret: str | None, service_account: str | None
) -> dict[str, Any]:
    """Describe what a pod is made of.

    Args:
        container: From `container`.
        volumes: The same claims and paths.
        secret: Secret with which the image is pulled.
        service_account: Account with which the pod uses the API.
    """
    claims = enumerate(claim for claim, _ in volumes)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": f"volume-{n}", "persistentVolumeClaim": {"claimName": claim}} for n, claim in claims],
    }
    if secret is not None:
        spec["imagePullSecrets"] = [{"name": secret}]
    if service_account is not None:
        spec["serviceAccountName"] = service_account
    return spec


def parse_pod(pod: Mapping[str, Any]) -> JobStatus:
    """Read the status of a pod.

    Args:
        pod: Its JSON.

    Returns:
        PENDING (with the reason if it can't be placed or started), RUNNING, COMPLETED, FAILED, TIMEOUT, or UNKNOWN if
        its node does not answer or the phase is not one of those that are documented.
    """
    status = pod.get("status", {})
    phase = status.get("phase", "Pending")
    if phase == "Pending":
        return _pending(status)
    if phase == "Running":
        return JobStatus(JobState.RUNNING)
    code, words = _end_of_container(status)
    if phase == "Succeeded":
        return JobStatus(JobState.COMPLETED, exit_code=0 if code is None else code)
    if phase == "Failed":
        # The pod's own reason (Evicted, Preempting, NodeLost...) comes before that of its container (OOMKilled, Error).
        reasons = [words for words in (_reason(status), words) if words]
        state = JobState.TIMEOUT if status.get("reason") == _LATE else JobState.FAILED
        return JobStatus(state, "; ".join(reasons) or "the pod failed, no reason is given", code)
    return JobStatus(JobState.UNKNOWN, _reason(status) or f"the pod's phase is {phase}")


def _pending(status: Mapping[str, Any]) -> JobStatus:
    for waiting in _waiting(status):
        reason = str(waiting.get("reason", ""))
        if reason in NEVER_STARTS:
            return JobStatus(JobState.FAILED, _reason(waiting))
        if reason in CANNOT_START:
            return JobStatus(JobState.PENDING, _reason(waiting))
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return JobStatus(JobState.PENDING, _reason(condition))
    return JobStatus(JobState.PENDING)


def cannot_start(pod: Mapping[str, Any]) -> bool:
    """Tell whether a container waits for something that may never come, such as an image that can't be pulled."""
    return any(waiting.get("reason") in CANNOT_START for waiting in _waiting(pod.get("status", {})))


def _waiting(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in status.get("containerStatuses", []):
        if "waiting" in one.get("state", {}):
            yield one["state"]["waiting"]


def _end_of_container(status: Mapping[str, Any]) -> tuple[int | None, str]:
    for one in status.get("containerStatuses", []):
        ended = one.get("state", {}).get("terminated")
        if ended is not None:
            code = ended.get("exitCode")
            words = _reason(ended)
            return code, f"{words or 'the container ended'}, exit code {code}"
    return None, ""


def _reason(holder: Mapping[str, Any]) -> str:
    return ": ".join(str(holder[key]).strip() for key in ("reason", "message") if holder.get(key))


def combined(statuses: Mapping[str, JobStatus]) -> JobStatus:
    """Make the status of a block out of those of its pods.

    One that ended badly ends the block; it runs when all of them do or have ended well.

    Args:
        statuses: Status by name of the pod, at least one.
    """
    if len(statuses) == 1:
        return next(iter(statuses.values()))
    states = [JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.UNKNOWN, JobState.PENDING]
    for state in [*states, JobState.RUNNING, JobState.COMPLETED]:
        for name, status in statuses.items():
            if status.state is state:
                message = f"{name}: {status.message}" if status.message else None
                return JobStatus(state, message, status.exit_code)
    raise ValueError(f"no state for a block of pods in {statuses}")
