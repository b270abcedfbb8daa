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
from lorax_batch_server.listener_guard import check_listener
from lorax_batch_server.security_settings import SecuritySettings
from lorax_batch_server.settings import Settings, load_settings

from tests.kubernetes.rights import documented_rules

CHART = Path(__file__).parents[2] / "deploy/helm/lorax-batch"
NEEDED = (
    "database.existingSecret=database",
    "objectStore.url=s3://bucket/store",
    "tls.existingSecret=tls",
    "auth.operatorKey.existingSecret=operator",
)
FLEET = '[kubernetes]\nimage = "repository/lorax:main"\nnamespace = "gpus"\n'
VERSIONS = ("1.28", kubernetes_validate.latest_version())

Manifest = dict[str, Any]

needs_helm = pytest.mark.skipif(
    shutil.which("helm") is None, reason="there is no helm: `make check-chart` builds one with Go"
)


def helm(*values: str, file: str = "", needed: tuple[str, ...] = NEEDED) -> "subprocess.CompletedProcess[str]":
    arguments = [argument for value in (*needed, *values) for argument in ("--set", value)]
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
    # What is given there goes before what is needed, as `--set` would not.
    needed = [value for value in NEEDED if not names_given(value, given)]
    done = helm(*values, file=str(file), needed=tuple(needed))
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def names_given(value: str, given: Manifest) -> bool:
    """Tell whether a `--set` stands for something that values give too."""
    part: Any = given
    for name in value.partition("=")[0].split("."):
        if not isinstance(part, dict) or name not in part:
            return False
        part = part[name]
    return True


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


def client_tls(name: str) -> Manifest:
    return {"ca": {"existingSecret": f"{name}-ca", "key": "root.pem"}, "clientCert": {"existingSecret": f"{name}-cert"}}


FULL: Manifest = {
    "fleet": {"toml": FLEET, "namespace": "gpus"},
    "networkPolicy": {"enabled": True},
    "database": {"tls": client_tls("database")},
    "objectStore": {"existingSecret": "s3", "tls": client_tls("store"), "callersBucketsTls": client_tls("theirs")},
    "tls": {"clientCa": {"existingSecret": "callers"}, "probeCert": {"existingSecret": "probe"}},
    "secretsKey": {"existingSecret": "sealing"},
    "tracing": {"endpoint": "https://collector:4317", "ratio": 0.5},
    "webhooks": {"networks": ["10.20.0.0/16"], "allowHttp": True, "giveUpDays": 2.5},
    "image": {"pullSecrets": ["registry"]},
    "settings": {"import_buckets": ["s3://theirs/in"], "lease_s": 20.0, "currency": 'E"R'},
    "scheduler": {
        "scratch": {"persistent": True, "storageClassName": "fast"},
        "tolerations": [{"operator": "Exists"}],
        "serverTls": client_tls("lorax"),
    },
    "api": {
        "extraEnv": [{"name": "X", "value": "1"}],
        "extraVolumes": [{"name": "tls", "secret": {"secretName": "t"}}],
    },
    "service": {"headless": True, "annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"role": "s3"}},
}


INSECURE: Manifest = {"allowInsecure": True, "tls": {"existingSecret": ""}, "auth": {"keys": False}}


@needs_helm
@pytest.mark.parametrize("given", [{}, FULL, INSECURE, {"metrics": {"port": None}, "migrations": {"enabled": False}}])
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


def mounted(pod: Manifest, path: str) -> tuple[str, str]:
    """Return the Secret and the key that a path of a pod is, as far as a renewed Secret reaches it."""
    folder, _, key = path.rpartition("/")
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == folder]
    assert mount["readOnly"]
    assert "subPath" not in mount
    (secret,) = [each["secret"] for each in pod["volumes"] if each["name"] == mount["name"]]
    assert secret["defaultMode"] == 0o440
    assert {"key": key, "path": key} in secret["items"]
    return str(secret["secretName"]), key


@needs_helm
def test_every_file_of_the_service_comes_from_a_secret_that_can_be_renewed(tmp_path: Path) -> None:
    found = pods(render(tmp_path, **FULL))
    scheduler, api = found["batch-lorax-batch-scheduler"], found["batch-lorax-batch-api"]
    files = {*SecuritySettings.model_fields, "operator_key_file"} - {"secrets_key", "adapter_sources"}
    secrets = {
        name: mounted(scheduler, environment(scheduler)[f"LORAX_BATCH_{name.upper()}"]["value"]) for name in files
    }
    assert secrets["tls_key"] == ("tls", "tls.key")
    assert secrets["tls_client_ca"] == ("callers", "ca.crt")
    assert secrets["object_store_ca"] == ("store-ca", "root.pem")
    assert secrets["bucket_ca"] == ("theirs-ca", "root.pem")
    assert secrets["server_cert"] == ("lorax-cert", "tls.crt")
    assert secrets["secrets_key_file"] == ("sealing", "secrets.key")
    assert secrets["operator_key_file"] == ("operator", "operator.key")
    of_servers = {f"LORAX_BATCH_SERVER_{name}" for name in ("CA", "CERT", "KEY")}
    assert environment(scheduler).keys() - environment(api).keys() == of_servers
    migrations = found["batch-lorax-batch-migrations"]
    assert mounted(migrations, environment(migrations)["LORAX_BATCH_DATABASE_CA"]["value"]) == (
        "database-ca",
        "root.pem",
    )
    assert not environment(migrations).keys() & {"LORAX_BATCH_TLS_KEY", "LORAX_BATCH_SECRETS_KEY_FILE"}


def settings_of(pod: Manifest, manifests: list[Manifest], folder: Path) -> Settings:
    """Return what the service in a pod reads, but for what comes by reference."""
    file = folder / "settings.toml"
    file.write_text(one(manifests, "ConfigMap")["data"]["settings.toml"])
    variables = {name: each["value"] for name, each in environment(pod).items() if "value" in each}
    ours = {name: value for name, value in variables.items() if not name.startswith("LORAX_BATCH_TARGET_")}
    return load_settings(
        file, **{name.removeprefix("LORAX_BATCH_").lower(): ours[name] for name in ours if name != "X"}
    )


@needs_helm
@pytest.mark.parametrize("given", [{}, FULL, INSECURE])
def test_the_service_takes_its_settings_and_may_listen(given: Manifest, tmp_path: Path) -> None:
    manifests = render(tmp_path, **{**given, "settings": {"import_buckets": ["s3://theirs/in"], "lease_s": 20.0}})
    for name in ("batch-lorax-batch-api", "batch-lorax-batch-scheduler"):
        settings = settings_of(pods(manifests)[name], manifests, tmp_path)
        assert (settings.import_buckets, settings.lease_s) == (["s3://theirs/in"], 20.0)
        tls, keys = settings.tls_cert is not None, settings.auth == "keys"
        check_listener(settings.listen_address, tls=tls, auth=keys, allow_insecure=settings.allow_insecure)
        assert settings.allow_insecure is (given is INSECURE)


@needs_helm
def test_traces_and_webhooks_are_as_their_values_say(tmp_path: Path) -> None:
    manifests = render(tmp_path, **{**FULL, "settings": {}})
    settings = settings_of(pods(manifests)["batch-lorax-batch-api"], manifests, tmp_path)
    assert (settings.otlp_endpoint, settings.trace_ratio) == ("https://collector:4317", 0.5)
    assert (settings.webhook_networks, settings.webhook_allow_http) == (["10.20.0.0/16"], True)
    assert settings.webhook_give_up_days == 2.5


@needs_helm
def test_pods_are_ready_when_the_service_is(tmp_path: Path) -> None:
    """The kubelet's own gRPC probe talks plain only."""
    for given, probe in (
        ({}, {"exec": {"command": ["lorax-batch", "health", "--own"]}}),
        (INSECURE, {"grpc": {"port": 50051}}),
    ):
        pod = pods(render(tmp_path, **given))["batch-lorax-batch-api"]
        assert probe.items() <= pod["containers"][0]["readinessProbe"].items()


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
        ("probes.kind=exec", "kind"),
        ("tls.existingSecret=", "tls.existingSecret: name a Secret of the type kubernetes.io/tls"),
        ("auth.keys=false", "auth.keys: without keys anybody"),
        ("auth.operatorKey.existingSecret=", "auth.operatorKey.existingSecret: name a Secret"),
        ("secretsKey.existingSecret=No_Name", "existingSecret"),
        ("settings.secrets_key=1:AAAA", "settings.secrets_key: this chart sets it itself"),
        ("settings.server_ca=/ca.pem", "settings.server_ca: this chart sets it itself"),
        ("tracing.endpoint=collector:4317", "endpoint"),
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
    check_keys(values, schema, schema["definitions"])


def check_keys(value: Manifest, part: Manifest, definitions: Manifest) -> None:
    assert value.keys() == part["properties"].keys()
    for name, inner in value.items():
        allowed = part["properties"][name]
        allowed = definitions[allowed["$ref"].rpartition("/")[2]] if "$ref" in allowed else allowed
        if isinstance(inner, dict) and "properties" in allowed:
            check_keys(inner, allowed, definitions)
