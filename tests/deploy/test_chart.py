"""The Helm chart renders to what Kubernetes takes, with the rights and the limits that it promises."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from lorax_batch_server.settings import Settings, load_settings

from tests.kubernetes.rights import documented_rules

CHART = Path(__file__).parents[2] / "deploy/helm/lorax-batch"
NEEDED = ("database.existingSecret=database", "objectStore.url=s3://bucket/store")
FLEET = '[kubernetes]\nimage = "repository/lorax:main"\nnamespace = "gpus"\n'
VERSIONS = ("1.28", kubernetes_validate.latest_version())

Manifest = dict[str, Any]

needs_helm = pytest.mark.skipif(
    shutil.which("helm") is None, reason="there is no helm: `make check-chart` builds one with Go"
)


def helm(*values: str, file: str = "") -> "subprocess.CompletedProcess[str]":
    arguments = [argument for value in (*NEEDED, *values) for argument in ("--set", value)]
    files = ["--values", file] if file else []
    return subprocess.run(
        ["helm", "template", "batch", CHART, "--namespace", "jobs", "--kube-version", "1.30", *arguments, *files],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        timeout=60,
    )


def render(folder: Path, *values: str, **given: object) -> list[Manifest]:
    """Return the manifests of a release; `given` are values that are no texts."""
    file = folder / "values.json"
    file.write_text(json.dumps(given))
    done = helm(*values, file=str(file))
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind and name in each["metadata"]["name"]]
    return found


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the specs of all pods by the names of what makes them."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in manifests
        if each["kind"] in ("Deployment", "StatefulSet", "Job")
    }


def environment(pod: Manifest) -> dict[str, Manifest]:
    return {each["name"]: each for each in pod["containers"][0]["env"]}


FULL: Manifest = {
    "fleet": {"toml": FLEET, "namespace": "gpus"},
    "networkPolicy": {"enabled": True},
    "objectStore": {"existingSecret": "s3"},
    "image": {"pullSecrets": ["registry"]},
    "settings": {"import_buckets": ["s3://theirs/in"], "lease_s": 20.0, "currency": 'E"R'},
    "scheduler": {"scratch": {"persistent": True, "storageClassName": "fast"}, "tolerations": [{"operator": "Exists"}]},
    "api": {
        "extraEnv": [{"name": "X", "value": "1"}],
        "extraVolumes": [{"name": "tls", "secret": {"secretName": "t"}}],
    },
    "probes": {"kind": "exec"},
    "service": {"headless": True, "annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"role": "s3"}},
}


@needs_helm
@pytest.mark.parametrize("given", [{}, FULL, {"metrics": {"port": None}, "migrations": {"enabled": False}}])
@pytest.mark.parametrize("version", VERSIONS)
def test_all_manifests_are_what_kubernetes_takes(given: Manifest, version: str, tmp_path: Path) -> None:
    manifests = render(tmp_path, **given)
    assert len(manifests) >= 9
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


@needs_helm
def test_pods_have_no_more_rights_than_they_need(tmp_path: Path) -> None:
    manifests = render(tmp_path, **FULL)
    for name, pod in pods(manifests).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], name
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["automountServiceAccountToken"] is (name == "batch-lorax-batch-scheduler"), name
        assert pod["enableServiceLinks"] is False, name
        assert pod["imagePullSecrets"] == [{"name": "registry"}], name
    assert not any(pod["automountServiceAccountToken"] for pod in pods(render(tmp_path)).values())


@needs_helm
def test_the_rights_of_a_fleet_are_those_that_the_documentation_names(tmp_path: Path) -> None:
    """Which are those that the host uses: `tests/kubernetes/test_rights.py`."""
    role = one(render(tmp_path, **FULL), "Role")
    assert role["rules"] == documented_rules()
    assert role["metadata"]["namespace"] == "gpus"
    binding = one(render(tmp_path, **FULL), "RoleBinding")
    assert binding["subjects"][0]["namespace"] == "jobs"
    assert not [each for each in render(tmp_path) if each["kind"].startswith("Role")]


@needs_helm
def test_secrets_come_by_reference(tmp_path: Path) -> None:
    for name, pod in pods(render(tmp_path, **FULL)).items():
        secret = environment(pod)["LORAX_BATCH_DATABASE_URL"]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": "database", "key": "url"}, name
    api = environment(pods(render(tmp_path, **FULL))["batch-lorax-batch-api"])
    assert api["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "s3"


@needs_helm
def test_every_setting_is_one_that_the_service_knows(tmp_path: Path) -> None:
    manifests = render(tmp_path, **FULL)
    for name, pod in pods(manifests).items():
        ours = {each.removeprefix("LORAX_BATCH_").lower() for each in environment(pod) if each.startswith("LORAX_")}
        assert ours <= Settings.model_fields.keys(), name
    file = tmp_path / "settings.toml"
    file.write_text(one(manifests, "ConfigMap")["data"]["settings.toml"].replace('E\\"R', "EUR"))
    settings = load_settings(file)
    assert (settings.import_buckets, settings.lease_s) == (["s3://theirs/in"], 20.0)


@needs_helm
def test_pods_are_given_longer_than_their_grace(tmp_path: Path) -> None:
    manifests = render(tmp_path, "shutdownGraceSeconds=90")
    for name in ("batch-lorax-batch-api", "batch-lorax-batch-scheduler"):
        pod = pods(manifests)[name]
        assert environment(pod)["LORAX_BATCH_SHUTDOWN_GRACE_S"]["value"] == "90"
        assert pod["terminationGracePeriodSeconds"] == 115


@needs_helm
def test_a_change_of_settings_rolls_the_pods(tmp_path: Path) -> None:
    def checksum(**given: object) -> str:
        deployment = one(render(tmp_path, **given), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert len({checksum(), checksum(settings={"lease_s": 20}), checksum(fleet={"toml": FLEET})}) == 3


@needs_helm
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("database.existingSecret=", "name a Secret that holds the URL"),
        ("objectStore.url=", "objectStore"),
        ("objectStore.url=file:///data", "objectStore"),
        ("settings.role=api", "settings.role: this chart sets it itself"),
        ("api.replicas=-1", "replicas"),
        ("probes.kind=http", "kind"),
        ("replicas=2", "replicas"),
        ("shutdownGraceSeconds=long", "shutdownGraceSeconds"),
    ],
)
def test_wrong_values_are_refused_with_their_name(value: str, message: str) -> None:
    done = helm(value)
    assert done.returncode != 0
    assert message in done.stderr


@needs_helm
def test_a_fleet_has_one_owner(tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"fleet": {"toml": FLEET}}))
    assert "one process at a time" in helm("scheduler.replicas=2", file=str(file)).stderr
    assert helm("scheduler.replicas=2").returncode == 0


def test_every_value_is_in_the_schema_and_has_a_comment() -> None:
    """Without helm: what `values.yaml` gives is what the schema allows, at every level."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert values.keys() == schema["properties"].keys()
    for name, value in values.items():
        part = schema["properties"][name]
        if isinstance(value, dict) and "properties" in part:
            assert value.keys() == part["properties"].keys(), name
