"""The compose file is one, and gives the service only what it knows."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lorax_batch_scheduler.objects.s3_location import parse_s3_location
from lorax_batch_server.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy"
FILE = FOLDER / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text())["services"])


def test_it_follows_the_specification_of_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_service_knows_its_settings(services: dict[str, Any]) -> None:
    environment = services["lorax-batch"]["environment"]
    ours = {name.removeprefix("LORAX_BATCH_").lower() for name in environment if name.startswith("LORAX_BATCH_")}
    assert ours <= Settings.model_fields.keys()
    for name in ("OBJECT_STORE", "IMPORT_BUCKETS", "EXPORT_BUCKETS"):
        assert parse_s3_location(environment[f"LORAX_BATCH_{name}"], what=name).bucket == "lorax-batch"


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
