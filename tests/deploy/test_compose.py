"""The compose file is one, and gives the service only what it knows."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lorax_batch_scheduler.objects.s3_location import parse_s3_location
from lorax_batch_server.listener_guard import check_listener
from lorax_batch_server.security_settings import SecuritySettings
from lorax_batch_server.settings import Settings, load_settings

FOLDER = Path(__file__).parents[2] / "deploy"
FILE = FOLDER / "compose.yaml"
TLS_FILE = FOLDER / "compose.tls.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text())["services"])


def test_they_follow_the_specification_of_compose() -> None:
    files = [str(FILE), str(TLS_FILE)]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def settings_of(environment: dict[str, str | None]) -> Settings:
    """Return what the service reads when nothing is passed on from the shell."""
    ours: dict[str, Any] = {
        name.removeprefix("LORAX_BATCH_").lower(): value
        for name, value in environment.items()
        if name.startswith("LORAX_BATCH_") and not (value or "").startswith("${")
    }
    assert ours.keys() <= Settings.model_fields.keys()
    return load_settings(None, listen="0.0.0.0:50051", **ours)


def test_the_service_knows_its_settings(services: dict[str, Any]) -> None:
    settings = settings_of(services["lorax-batch"]["environment"])
    for url in (settings.object_store, *settings.import_buckets, *settings.export_buckets):
        assert parse_s3_location(str(url), what="store").bucket == "lorax-batch"
    assert settings.allow_insecure


def test_what_others_reach_has_tls_and_keys_and_all_that_can_be_set(services: dict[str, Any]) -> None:
    more = yaml.safe_load(TLS_FILE.read_text())["services"]["lorax-batch"]
    environment = services["lorax-batch"]["environment"] | more["environment"]
    settings = settings_of(environment)
    keys = settings.auth == "keys" and settings.operator_key_file is not None
    check_listener(settings.listen_address, tls=settings.tls_cert is not None, auth=keys, allow_insecure=False)
    assert not settings.allow_insecure
    mapped = {name.removeprefix("LORAX_BATCH_").lower() for name in environment}
    assert SecuritySettings.model_fields.keys() - mapped == set()
    (mount,) = more["volumes"]
    files = [path for path in (settings.tls_cert, settings.operator_key_file, settings.secrets_key_file) if path]
    assert {str(path.parent) for path in files} == {mount.removesuffix(":ro").rpartition(":")[2]}


@pytest.mark.parametrize("profile", ["demo", "gpu"])
def test_a_profile_brings_the_servers_that_its_settings_name(services: dict[str, Any], profile: str) -> None:
    lines = (FOLDER / f"{profile}.env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert settings["COMPOSE_PROFILES"] == profile
    named = {url.removeprefix("http://").partition(":")[0] for url in settings["LORAX_BATCH_SERVERS"].split()}
    assert named == {name for name, service in services.items() if profile in service.get("profiles", [])}


def test_nothing_can_be_reached_from_other_machines(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_outlives_a_container_is_a_volume_of_the_file(services: dict[str, Any]) -> None:
    volumes = {mount.partition(":")[0] for service in services.values() for mount in service.get("volumes", [])}
    assert volumes == yaml.safe_load(FILE.read_text())["volumes"].keys()
