from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.kubernetes.pods import cannot_start, combined, container, parse_pod, pod_spec


def pod(phase, state=None, conditions=(), **status):
    """A pod as the API describes it, as far as its status goes."""
    containers = [] if state is None else [{"name": "parsl", "state": state, "restartCount": 0}]
    return {"status": {"phase": phase, "conditions": list(conditions), "containerStatuses": containers, **status}}


def terminated(code, reason, **more):
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": "2026-01-01T00:00:00Z", **more}}


def waiting(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/2 nodes are available: 2 Insufficient cpu.",
}

TABLE = [
    (pod("Pending"), JobState.PENDING, None, None),
    ({}, JobState.PENDING, None, None),
    (pod("Pending", conditions=[UNSCHEDULABLE]), JobState.PENDING, None, "Unschedulable: 0/2 nodes"),
    (pod("Pending", waiting("ContainerCreating")), JobState.PENDING, None, None),
    (pod("Pending", waiting("ImagePullBackOff", "Back-off pulling")), JobState.PENDING, None, "ImagePullBackOff: Back"),
    (pod("Pending", waiting("ErrImagePull", "not found")), JobState.PENDING, None, "ErrImagePull: not found"),
    (
        pod("Pending", waiting("CreateContainerConfigError", 'secret "x" not found')),
        JobState.PENDING,
        None,
        'secret "x" not found',
    ),
    (pod("Pending", waiting("InvalidImageName", "Failed to apply")), JobState.FAILED, None, "InvalidImageName"),
    (pod("Running", {"running": {}}), JobState.RUNNING, None, None),
    (pod("Succeeded", terminated(0, "Completed")), JobState.COMPLETED, 0, None),
    (pod("Failed", terminated(3, "Error")), JobState.FAILED, 3, "Error, exit code 3"),
    (pod("Failed", terminated(137, "OOMKilled")), JobState.FAILED, 137, "OOMKilled, exit code 137"),
    (
        pod("Failed", terminated(128, "ContainerCannotRun", message="no /bin/bash")),
        JobState.FAILED,
        128,
        "ContainerCannotRun: no /bin/bash",
    ),
    (
        pod("Failed", reason="Evicted", message="The node was low on resource: memory."),
        JobState.FAILED,
        None,
        "Evicted: The node was low on resource: memory.",
    ),
    (
        pod("Failed", terminated(143, "Error"), reason="DeadlineExceeded"),
        JobState.TIMEOUT,
        143,
        "DeadlineExceeded; Error, exit code 143",
    ),
    (pod("Failed"), JobState.FAILED, None, "no reason is given"),
    (pod("Unknown", reason="NodeLost", message="node-1 does not answer"), JobState.UNKNOWN, None, "NodeLost: node-1"),
    (pod("Terminating"), JobState.UNKNOWN, None, "phase is Terminating"),
]


@pytest.mark.parametrize(("described", "state", "code", "words"), TABLE)
def test_status_of_a_pod(described, state, code, words):
    status = parse_pod(described)
    assert (status.state, status.exit_code) == (state, code)
    assert (status.message is None) if words is None else (words in str(status.message))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("ImagePullBackOff", True), ("CreateContainerConfigError", True), ("ContainerCreating", False), ("", False)],
)
def test_what_may_never_start(reason, expected):
    assert cannot_start(pod("Pending", waiting(reason))) is expected
    assert not cannot_start(pod("Pending"))


states = st.sampled_from(
    [
        JobState.PENDING,
        JobState.RUNNING,
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.TIMEOUT,
        JobState.CANCELLED,
        JobState.UNKNOWN,
    ]
)


@given(st.dictionaries(st.text(min_size=1), states, min_size=1))
def test_status_of_a_block(by_name):
    status = combined({name: JobStatus(state, f"says {name}") for name, state in by_name.items()})
    found = set(by_name.values())
    assert status.state in found
    if JobState.FAILED in found:
        assert status.state is JobState.FAILED
    assert (status.state is JobState.COMPLETED) == (found == {JobState.COMPLETED})
    assert (status.state is JobState.RUNNING) == (
        JobState.RUNNING in found and found <= {JobState.RUNNING, JobState.COMPLETED}
    )
    assert any(f"says {name}" in str(status.message) for name, state in by_name.items() if state is status.state)


def test_a_block_of_no_pods_has_no_status():
    with pytest.raises(ValueError, match="no state"):
        combined({})


def test_what_a_pod_is_made_of():
    volumes = [("claim-a", "/data"), ("claim-b", "/home")]
    described = container("parsl", "python:3", "echo $HOME", {"cpu": "1"}, {"cpu": "2"}, volumes, {"runAsUser": 7})
    assert described == {
        "name": "parsl",
        "image": "python:3",
        "command": ["/bin/bash"],
        "args": ["-c", "echo $HOME"],
        "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
        "volumeMounts": [
            {"name": "volume-0", "mountPath": "/data"},
            {"name": "volume-1", "mountPath": "/home"},
        ],
        "securityContext": {"runAsUser": 7},
    }
    assert pod_spec(described, volumes, "pull", "robot") == {
        "restartPolicy": "Never",
        "containers": [described],
        "volumes": [
            {"name": "volume-0", "persistentVolumeClaim": {"claimName": "claim-a"}},
            {"name": "volume-1", "persistentVolumeClaim": {"claimName": "claim-b"}},
        ],
        "imagePullSecrets": [{"name": "pull"}],
        "serviceAccountName": "robot",
    }
    assert set(pod_spec(described, [], None, None)) == {"restartPolicy", "containers", "volumes"}
