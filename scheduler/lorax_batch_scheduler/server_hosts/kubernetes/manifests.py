"""The objects that a server consists of: a Deployment, a Service and a Secret."""

import base64
import math
import re
from datetime import datetime
from typing import Any, Final

import msgspec

from lorax_batch_scheduler.errors import FleetError
from lorax_batch_scheduler.launch import FOR_EVERYBODY, TOKEN_VARIABLES, Launch
from lorax_batch_scheduler.server_hosts.kubernetes.fleet import KubernetesFleet, SlotClass
from lorax_batch_scheduler.server_hosts.kubernetes.launch_record import LaunchRecord
from lorax_batch_scheduler.server_hosts.kubernetes.naming import (
    FAMILY_ANNOTATION,
    FAMILY_LABEL,
    LAUNCH_ANNOTATION,
    MODEL_ANNOTATION,
    SERVER_LABEL,
    START_TIME_ANNOTATION,
    ServerName,
)

Manifest = dict[str, Any]

CONTAINER: Final = "lorax"
PORT: Final = 8000
DATA_KEY: Final = "token"
PROBE_PERIOD_S: Final = 5
MAX_LABEL: Final = 63
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)


def deployment(
    fleet: KubernetesFleet,
    slots: SlotClass,
    name: ServerName,
    launch: Launch,
    *,
    start_time: datetime,
    replicas: int,
    uid: str | None = None,
) -> Manifest:
    """Return the Deployment: with 0 replicas it only claims the slot, with 1 its server runs.

    With a `uid` it can only change that very object: without one, applying would bring back what was deleted meanwhile.

    Raises:
        FleetError: the image tag is none.
    """
    labels = {**name.labels(), FAMILY_LABEL: launch.family[:MAX_LABEL]}
    annotations = {
        FAMILY_ANNOTATION: launch.family,
        MODEL_ANNOTATION: launch.model,
        START_TIME_ANNOTATION: start_time.isoformat(),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name.deployment,
            "namespace": fleet.namespace,
            "labels": labels,
            "annotations": {**annotations, LAUNCH_ANNOTATION: LaunchRecord.of(launch).encoded()},
            **({"uid": uid} if uid else {}),
        },
        "spec": {
            "replicas": replicas,
            # The slot has one GPU: a new pod must never wait for the GPU of the old one that waits for it.
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": {SERVER_LABEL: name.server_id}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": _pod(fleet, slots, name, launch),
            },
        },
    }


def service(fleet: KubernetesFleet, name: ServerName, owner: Manifest) -> Manifest:
    """Return the Service that gives the server its address."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _owned(fleet, name.service, name, owner),
        "spec": {
            "type": "ClusterIP",
            "selector": {SERVER_LABEL: name.server_id},
            # The scheduler asks the server itself whether it is well. A saturated server that is slow to answer its
            # probe must not lose its address, and with it the rows in flight.
            "publishNotReadyAddresses": True,
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def secret(fleet: KubernetesFleet, name: ServerName, launch: Launch, owner: Manifest) -> Manifest:
    """Return the Secret with the token of Hugging Face; empty where there is none."""
    token = base64.b64encode((launch.hf_token or "").encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _owned(fleet, name.secret, name, owner),
        "type": "Opaque",
        "data": {DATA_KEY: token} if launch.hf_token else {},
    }


def image(fleet: KubernetesFleet, launch: Launch) -> str:
    """Return the image of a server. Raises `FleetError` when the wanted tag is none."""
    if not launch.image_tag:
        return fleet.image
    if not _TAG.fullmatch(launch.image_tag):
        raise FleetError(f"'{launch.image_tag}' is no image tag: it is made of letters, digits, '_', '.' and '-'")
    return f"{fleet.repository}:{launch.image_tag}"


def _owned(fleet: KubernetesFleet, object_name: str, name: ServerName, owner: Manifest) -> Manifest:
    """Return metadata of an object that the cluster deletes together with its Deployment, whoever deletes that."""
    reference = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": name.deployment,
        "uid": owner["metadata"]["uid"],
        "controller": False,
        "blockOwnerDeletion": False,
    }
    return {
        "name": object_name,
        "namespace": fleet.namespace,
        "labels": name.labels(),
        "ownerReferences": [reference],
    }


def _pod(fleet: KubernetesFleet, slots: SlotClass, name: ServerName, launch: Launch) -> Manifest:
    return {
        "containers": [_container(fleet, slots, name, launch)],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _mebibytes(slots.shm_gib)}},
            {"name": "data", **_data_volume(fleet)},
        ],
        "nodeSelector": slots.node_selector,
        "tolerations": [msgspec.to_builtins(toleration) for toleration in slots.tolerations],
        "terminationGracePeriodSeconds": fleet.stop_grace_s,
        "imagePullSecrets": [{"name": fleet.image_pull_secret}] if fleet.image_pull_secret else [],
        # A model needs nothing of the cluster's API, and none of the variables that name other Services.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }


def _container(fleet: KubernetesFleet, slots: SlotClass, name: ServerName, launch: Launch) -> Manifest:
    # The launcher takes its host from HOSTNAME unless told, and that is the pod's name here.
    arguments = ["--model-id", launch.model, "--hostname", "0.0.0.0", "--port", str(PORT), *launch.arguments]
    return {
        "name": CONTAINER,
        "image": image(fleet, launch),
        "args": [argument.replace("$(", "$$(") for argument in arguments],  # $(NAME) would be a variable's value
        "env": _environment(fleet, name, launch),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(slots),
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "data", "mountPath": "/data"}],  # noqa: S108
        **_probes(slots),
    }


def _probes(slots: SlotClass) -> Manifest:
    """Return the probes, all of `/info`: `/health` of v0.12.1 is a generation, and fails on a saturated server.

    A server opens its port when its model is loaded and warmed up; until then connections are refused, for minutes.
    The scheduler gives up on it after `start_timeout_s` and says why, so the kubelet waits twice as long.

    There is no liveness probe. When the router or a shard dies the launcher exits, and the container with it. What
    hangs without dying still takes connections, for which the kernel answers, and often answers `/info`: no probe sees
    it. The scheduler does, since rows stop to end; and a probe that fails under load would kill all rows in flight.
    """
    ask = {"httpGet": {"path": "/info", "port": "http", "scheme": "HTTP"}, "successThreshold": 1}
    patience = math.ceil(2 * slots.start_timeout_s / PROBE_PERIOD_S)
    return {
        "startupProbe": {**ask, "periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5, "failureThreshold": patience},
        "readinessProbe": {**ask, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 3},
    }


def _environment(fleet: KubernetesFleet, name: ServerName, launch: Launch) -> list[Manifest]:
    own = bool(fleet.token_secret) and not launch.hf_token
    # The service's own is for adapters too. A job's never is: other jobs on the server would get its adapters.
    plain = {FOR_EVERYBODY: "1"} | fleet.env if own else fleet.env
    secret_name = fleet.token_secret if own else name.secret
    reference = {"name": secret_name, "key": DATA_KEY, "optional": not own and launch.hf_token is None}
    return [{"name": key, "value": value.replace("$(", "$$(")} for key, value in sorted(plain.items())] + [
        {"name": variable, "valueFrom": {"secretKeyRef": reference}} for variable in TOKEN_VARIABLES
    ]


def _resources(slots: SlotClass) -> Manifest:
    host: dict[str, str] = {}
    if slots.cpu is not None:
        host["cpu"] = f"{math.ceil(slots.cpu * 1000)}m"
    if slots.host_memory_gib is not None:
        host["memory"] = _mebibytes(slots.host_memory_gib)
    gpu = {slots.gpu_resource: str(slots.gpu_count)}
    # Memory has no limit: loading weights peaks far above what serving needs.
    return {"requests": {**host, **gpu}, "limits": gpu}


def _data_volume(fleet: KubernetesFleet) -> Manifest:
    if fleet.data_claim:
        return {"persistentVolumeClaim": {"claimName": fleet.data_claim}}
    if fleet.data_host_path:
        return {"hostPath": {"path": fleet.data_host_path, "type": "DirectoryOrCreate"}}
    return {"emptyDir": {}}


def _mebibytes(gib: float) -> str:
    return f"{math.ceil(gib * 1024)}Mi"
