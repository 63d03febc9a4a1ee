"""Blocks as pods of a Kubernetes cluster."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.cloud import CloudProvider, load_sdk
from parsl.providers.kubernetes import pods
from parsl.utils import sanitize_dns_label_rfc1123
from parsl.validation import check_types

__all__ = ["KubernetesProvider"]

logger = logging.getLogger(__name__)

RUN_LABEL = "parsl-run"
"""Key of the label that says which provider object made a pod."""

JOB_LABEL = "parsl-job"
"""Key of the label that says which block a pod belongs to."""

_LIMITS = (10, 60)
_LOG_END = {"limit_bytes": 1 << 20, "tail_lines": 1000}
_LONGEST_PREFIX = 40


class KubernetesProvider(CloudProvider):
    """Runs each block as pods of a Kubernetes cluster.

    The cluster is that of the environment's KUBECONFIG or ~/.kube/config, else the one whose pod this program runs in.
    All pods carry a label with this provider's `run_id`; no others are looked at or deleted. A pod that has ended is
    deleted; what it printed is kept in `script_dir` if it did not end well.

    Args:
        image: Image of the pods; it has to have /bin/bash and what workers need.
        namespace: Namespace to make pods in.
        nodes_per_block: Pods in a block.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        max_cpu: Cores that a pod gets at most.
        max_mem: Memory that a pod gets at most, such as "500Mi".
        init_cpu: Cores that a pod is promised.
        init_mem: Memory that a pod is promised.
        extra_requests: Further resources that a pod is promised, such as `{"ephemeral-storage": "1Gi"}`.
        extra_limits: Further resources that a pod gets at most, such as `{"nvidia.com/gpu": "1"}`.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        worker_init: Bash text to run in a pod before the command.
        pod_name: Begin of the names of pods; None for the name of the job.
        user_id: User that the container runs as.
        group_id: Group that the container runs as.
        run_as_non_root: Refuse to run as root.
        secret: Name of the secret with which the image is pulled.
        persistent_volumes: Names of claims, and where in the pod each is mounted.
        service_account_name: Service account of the pods.
        annotations: Annotations of the pods.
        api_client: `kubernetes.client.ApiClient` for another cluster than the above.

    Raises:
        TypeError: An argument has a wrong type.
        ConfigurationError: A value can't be meant.

    Attributes:
        start_patience: Seconds for which a pod's image may fail to be pulled, or its container to be made, before the
            block has failed.
    """

    label = "kubernetes"
    start_patience: float = 120.0

    @check_types
    def __init__(
        self,
        image: str,
        namespace: str = "default",
        nodes_per_block: int = 1,
        init_blocks: int = 4,
        min_blocks: int = 0,
        max_blocks: int = 10,
        max_cpu: float = 2,
        max_mem: str = "500Mi",
        init_cpu: float = 1,
        init_mem: str = "250Mi",
        extra_requests: dict[str, str] | None = None,
        extra_limits: dict[str, str] | None = None,
        parallelism: float = 1,
        worker_init: str = "",
        pod_name: str | None = None,
        user_id: str | int | None = None,
        group_id: str | int | None = None,
        run_as_non_root: bool = False,
        secret: str | None = None,
        persistent_volumes: list[tuple[str, str]] = [],  # noqa: B006 - the public default; never changed
        service_account_name: str | None = None,
        annotations: dict[str, str] | None = None,
        *,
        api_client: Any = None,
    ) -> None:
        super().__init__(
            nodes_per_block=nodes_per_block,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
        )
        if init_cpu > max_cpu:
            raise ConfigurationError(f"KubernetesProvider: init_cpu ({init_cpu}) is more than max_cpu ({max_cpu})")
        self.image = image
        self.namespace = namespace
        self.max_cpu = max_cpu
        self.max_mem = max_mem
        self.init_cpu = init_cpu
        self.init_mem = init_mem
        self.extra_requests = extra_requests
        self.extra_limits = extra_limits
        self.worker_init = worker_init
        self.pod_name = pod_name
        self.user_id = user_id
        self.group_id = group_id
        self.run_as_non_root = run_as_non_root
        self.secret = secret
        self.persistent_volumes = persistent_volumes
        self.service_account_name = service_account_name
        self.annotations = annotations
        self.api_client = api_client
        self._api: Any = None
        self._made = 0

    # -- the cluster ---------------------------------------------------------------------------------------------

    @property
    def api(self) -> Any:
        """The client of the core API.

        Raises:
            ConfigurationError: No cluster is configured, or its configuration can't be used.
        """
        if self._api is None:
            client = load_sdk("kubernetes", "kubernetes.client")
            self._api = client.CoreV1Api(self.api_client or self._new_client(client))
        return self._api

    def _new_client(self, client: Any) -> Any:
        config = load_sdk("kubernetes", "kubernetes.config")
        settings = client.Configuration()
        # The library itself reads that variable once, when it is imported.
        files = os.environ.get("KUBECONFIG")
        try:
            config.load_config(client_configuration=settings, **({"config_file": files} if files else {}))
        except (config.ConfigException, OSError) as error:
            raise ConfigurationError(f"KubernetesProvider: no cluster that can be used: {error}") from error
        return client.ApiClient(settings)

    def _ask(self, verb: str, *arguments: Any, **options: Any) -> bytes:
        """Send one request, and read the whole answer, so that its connection can serve the next.

        Answers are not made into the library's objects: those differ from release to release, and refuse what they do
        not expect.
        """
        answer = getattr(self.api, verb)(*arguments, _preload_content=False, _request_timeout=_LIMITS, **options)
        data: bytes = answer.data
        return data

    def _sdk_errors(self) -> tuple[type[Exception], ...]:
        return (
            load_sdk("kubernetes", "kubernetes.client.exceptions").OpenApiException,
            load_sdk("kubernetes", "urllib3.exceptions").HTTPError,
            ValueError,  # an answer that is no JSON, or no list of pods
        )

    def _words(self, error: Exception) -> str:
        body = getattr(error, "body", None)
        try:
            answer = json.loads(body) if body else {}
        except ValueError:
            answer = {}
        words = answer.get("message") if isinstance(answer, dict) else None
        reason = getattr(error, "reason", None)
        return str(words or body or reason or error).strip()

    # -- blocks --------------------------------------------------------------------------------------------------

    def submit(self, cmd_string: str, tasks_per_node: int, job_name: str = "parsl.kube") -> str:
        """Make the pods of a block: all of them, or none.

        Args:
            cmd_string: Bash text to run in each pod.
            tasks_per_node: How many copies of it in each pod: 1, as a pod runs one.
            job_name: Begin of the names of pods, unless there is a `pod_name`.

        Returns:
            The id of the block; that of its pod if it has one.

        Raises:
            SubmitException: The cluster refused; the text is its own.
            ConfigurationError: No cluster is configured.
            OptionalModuleMissing: kubernetes is not installed.
        """
        if tasks_per_node != 1:
            raise ConfigurationError(f"KubernetesProvider: a pod runs one copy of the command, not {tasks_per_node}")
        self._made += 1
        prefix = sanitize_dns_label_rfc1123(self.pod_name or job_name)[:_LONGEST_PREFIX].rstrip("-")
        job_id = f"{prefix}-{self.run_id}-{self._made}"
        names = [job_id] if self.nodes_per_block == 1 else [f"{job_id}-{n}" for n in range(self.nodes_per_block)]
        # An empty line, for a worker_init that ends in a backslash.
        command = f"{self.worker_init}\n\n{cmd_string}\n"
        made: list[str] = []
        try:
            for name in names:
                self._ask("create_namespaced_pod", self.namespace, self._pod(name, job_id, command))
                made.append(name)
        except self._sdk_errors() as error:
            left = self._each(made, self._delete)
            refused = self._refused(job_name, error)
            refused.message = "; ".join([str(refused.message), *left.values()])
            raise refused from error
        return self._add(job_id, job_name, pods=names)

    def _pod(self, name: str, job_id: str, command: str) -> dict[str, Any]:
        """Describe a pod in the API's words."""
        security: dict[str, Any] = {}
        if self.user_id is not None:
            security["runAsUser"] = int(self.user_id)
        if self.group_id is not None:
            security["runAsGroup"] = int(self.group_id)
        if self.run_as_non_root:
            security["runAsNonRoot"] = True
        requests = {"cpu": str(self.init_cpu), "memory": self.init_mem, **(self.extra_requests or {})}
        limits = {"cpu": str(self.max_cpu), "memory": self.max_mem, **(self.extra_limits or {})}
        volumes = self.persistent_volumes
        container = pods.container("parsl", self.image, command, requests, limits, volumes, security)
        labels = {"app": "parsl", RUN_LABEL: self.run_id, JOB_LABEL: job_id}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "annotations": dict(self.annotations or {})},
            "spec": pods.pod_spec(container, volumes, self.secret, self.service_account_name),
        }

    def _look(self, job_ids: list[str]) -> dict[str, JobStatus]:
        ours = f"{RUN_LABEL}={self.run_id}"
        listed = json.loads(self._ask("list_namespaced_pod", self.namespace, label_selector=ours))
        if not isinstance(listed, dict) or listed.get("kind") != "PodList":
            raise ValueError(f"the answer is no list of pods: {listed}")
        there = {pod["metadata"]["name"]: pod for pod in listed.get("items") or []}
        return {job_id: self._status_of(job_id, there) for job_id in job_ids}

    def _status_of(self, job_id: str, there: dict[str, dict[str, Any]]) -> JobStatus:
        known = self.resources[job_id]
        seen: dict[str, JobStatus] = {}
        for name in known["pods"]:
            if name in there:
                seen[name] = self._judged(known, name, pods.parse_pod(there[name]), there[name])
            else:  # the list is complete: the API server answers from the store
                seen[name] = JobStatus(JobState.CANCELLED, "the pod was deleted from outside")
        status = pods.combined(seen)
        if status.state in {JobState.FAILED, JobState.TIMEOUT}:
            status.stdout_path = status.stderr_path = self._keep_output(job_id, self._logs(known["pods"]))
        return status

    def _judged(self, known: dict[str, Any], name: str, status: JobStatus, pod: dict[str, Any]) -> JobStatus:
        """Give up on a pod that could not be started for long."""
        waits: dict[str, float] = known.setdefault("waits", {})
        if not pods.cannot_start(pod):
            waits.pop(name, None)
            return status
        waited = self._clock() - waits.setdefault(name, self._clock())
        if waited < self.start_patience:
            return status
        return JobStatus(JobState.FAILED, f"given up after {waited:.0f} s: {status.message}")

    def _logs(self, names: list[str]) -> str:
        """Fetch what pods printed, as far as there is something."""
        texts = []
        for name in names:
            try:
                text = self._ask("read_namespaced_pod_log", name, self.namespace, **_LOG_END)
                texts.append(text.decode(errors="replace"))
            except self._sdk_errors() as error:
                logger.info("%s: the log of pod %s can't be read: %s", self.label, name, self._words(error))
        return "\n".join(texts)

    def _release(self, job_id: str) -> None:
        for name in self.resources[job_id]["pods"]:
            self._delete(name)

    def _end(self, job_ids: list[str]) -> dict[str, str]:
        return self._each(job_ids, self._release)

    def _delete(self, name: str) -> None:
        errors = load_sdk("kubernetes", "kubernetes.client.exceptions")
        try:
            self._ask("delete_namespaced_pod", name, self.namespace)
        except errors.ApiException as error:
            if error.status != 404:
                raise
