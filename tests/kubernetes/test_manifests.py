"""The objects that a server consists of, checked against Kubernetes' own schemas."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import kubernetes_validate
import pytest
from lorax_batch_scheduler.errors import FleetError
from lorax_batch_scheduler.server_hosts.kubernetes import KubernetesFleet, manifests, read_kubernetes_fleet
from lorax_batch_scheduler.server_hosts.kubernetes.naming import ServerName

from tests.kubernetes.cluster import MODEL, fleet_table, launch

NAME = ServerName.make("default", "a100-0", "0123456789abcdef")
OWNER = {"metadata": {"uid": "the-uid", "name": NAME.deployment}}
VERSIONS = ("1.28", "1.32", kubernetes_validate.latest_version())
RICH = {
    "class": "a100",
    "count": 1,
    "memory_gib": 80,
    "gpu_count": 4,
    "gpu_resource": "nvidia.com/mig-3g.40gb",
    "node_selector": {"gpu": "a100"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "cpu": 7.5,
    "host_memory_gib": 60,
    "shm_gib": 8,
    "start_timeout_s": 600,
}


def fleet_of(**table: Any) -> KubernetesFleet:
    return read_kubernetes_fleet(fleet_table(**table))


def deployment_of(fleet: KubernetesFleet, *, replicas: int = 1, **changes: Any) -> dict[str, Any]:
    start_time = datetime(2026, 1, 2, tzinfo=UTC)
    slots = fleet.slots[0]
    return manifests.deployment(fleet, slots, NAME, launch(**changes), start_time=start_time, replicas=replicas)


def container_of(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "table",
    [
        {},
        {"slots": [RICH], "env": {"HF_HUB_OFFLINE": "1"}, "image_pull_secret": "registry"},
        {"data_claim": "weights"},
        {"data_host_path": "/mnt/weights"},
    ],
    ids=["plain", "rich", "claim", "host path"],
)
def test_all_objects_are_valid(version: str, table: dict[str, Any]) -> None:
    fleet = fleet_of(**table)
    objects = [
        deployment_of(fleet, replicas=0),
        deployment_of(fleet),
        manifests.service(fleet, NAME, OWNER),
        manifests.secret(fleet, NAME, launch(), OWNER),
        manifests.secret(fleet, NAME, launch(hf_token=None), OWNER),
    ]
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


def test_a_broken_manifest_is_seen() -> None:
    broken = deployment_of(fleet_of()) | {"spec": {"replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_the_launcher_gets_its_arguments_and_no_variable_is_put_into_them() -> None:
    container = container_of(deployment_of(fleet_of(), arguments=("--eager-prefill", "true", "$(HF_TOKEN)")))
    assert container["args"] == [
        "--model-id", MODEL, "--hostname", "0.0.0.0", "--port", "8000", "--eager-prefill", "true", "$$(HF_TOKEN)",
    ]  # fmt: skip


def test_the_image_has_the_tag_that_the_job_wants() -> None:
    fleet = fleet_of()
    assert container_of(deployment_of(fleet))["image"] == "registry.example/predibase/lorax:0.12.1"
    assert container_of(deployment_of(fleet, image_tag="main"))["image"] == "registry.example/predibase/lorax:main"
    pinned = fleet_of(image=f"registry.example:5000/lorax@sha256:{'0' * 64}")
    assert container_of(deployment_of(pinned, image_tag="main"))["image"] == "registry.example:5000/lorax:main"
    with pytest.raises(FleetError, match="'a b' is no image tag"):
        deployment_of(fleet, image_tag="a b")


def test_the_token_is_only_in_the_secret() -> None:
    fleet, deployment = fleet_of(), deployment_of(fleet_of())
    assert "hf_secret" not in json.dumps([deployment, manifests.service(fleet, NAME, OWNER)])
    secret = manifests.secret(fleet, NAME, launch(), OWNER)
    assert base64.b64decode(secret["data"]["token"]) == b"hf_secret"
    reference = {"secretKeyRef": {"name": secret["metadata"]["name"], "key": "token", "optional": False}}
    assert [(it["name"], it["valueFrom"]) for it in container_of(deployment)["env"]] == [
        ("HUGGING_FACE_HUB_TOKEN", reference),
        ("HF_TOKEN", reference),
    ]


def test_the_services_own_token_is_for_jobs_without_one() -> None:
    fleet = fleet_of(token_secret="hub")
    reference = {"secretKeyRef": {"name": "hub", "key": "token", "optional": False}}
    assert container_of(deployment_of(fleet, hf_token=None))["env"] == [
        {"name": "LORAX_USE_GLOBAL_HF_TOKEN", "value": "1"},
        {"name": "HUGGING_FACE_HUB_TOKEN", "valueFrom": reference},
        {"name": "HF_TOKEN", "valueFrom": reference},
    ]
    assert deployment_of(fleet) == deployment_of(fleet_of())


def test_slots_decide_where_pods_run() -> None:
    deployment = deployment_of(fleet_of(slots=[RICH]))
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert container_of(deployment)["resources"] == {
        "requests": {"cpu": "7500m", "memory": "61440Mi", "nvidia.com/mig-3g.40gb": "4"},
        "limits": {"nvidia.com/mig-3g.40gb": "4"},
    }
    assert pod["volumes"][0] == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8192Mi"}}


@pytest.mark.parametrize(
    ("table", "volume"),
    [
        ({}, {"emptyDir": {}}),
        ({"data_claim": "weights"}, {"persistentVolumeClaim": {"claimName": "weights"}}),
        ({"data_host_path": "/mnt/w"}, {"hostPath": {"path": "/mnt/w", "type": "DirectoryOrCreate"}}),
    ],
)
def test_weights_are_where_the_operator_says(table: dict[str, str], volume: dict[str, Any]) -> None:
    pod = deployment_of(fleet_of(**table))["spec"]["template"]["spec"]
    assert pod["volumes"][1] == {"name": "data", **volume}
    assert pod["containers"][0]["volumeMounts"][1] == {"name": "data", "mountPath": "/data"}


def test_the_kubelet_is_more_patient_than_the_scheduler_and_never_kills_a_busy_server() -> None:
    deployment = deployment_of(fleet_of(slots=[RICH]))
    container = container_of(deployment)
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 2 * 600
    assert startup["httpGet"]["path"] == container["readinessProbe"]["httpGet"]["path"] == "/info"
    assert "livenessProbe" not in container
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 100
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_objects_say_whose_they_are() -> None:
    fleet, deployment = fleet_of(), deployment_of(fleet_of())
    labels = {
        "app.kubernetes.io/managed-by": "lorax-batch",
        "lorax-batch/fleet": "default",
        "lorax-batch/slot": "a100-0",
        "lorax-batch/server": "lorax-default-a100-0-01234567",
    }
    assert deployment["metadata"]["labels"] == labels | {"lorax-batch/family": "f00d"}
    for item in (manifests.service(fleet, NAME, OWNER), manifests.secret(fleet, NAME, launch(), OWNER)):
        assert item["metadata"]["labels"] == labels
        [owner] = item["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["kind"], owner["name"]) == ("the-uid", "Deployment", "lorax-default-a100-0")


def test_the_longest_names_are_host_names() -> None:
    name = ServerName.make("f" * 18, f"{'c' * 18}-999", "0" * 32)
    assert max(len(text) for text in (name.deployment, name.service, name.secret)) <= 63
