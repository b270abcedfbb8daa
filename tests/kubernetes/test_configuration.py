"""What an operator may write, and what is said of the rest."""

import sys
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.server_hosts.kubernetes import kubernetes_host, read_kubernetes_fleet
from lorax_batch_scheduler.server_hosts.kubernetes.connection import require_client
from lorax_batch_scheduler.toml_file import parse_toml

from tests.kubernetes.cluster import FakeCluster, fleet_table

SLOT = {"class": "a100", "count": 1, "memory_gib": 80}


def test_a_fleet_file_is_read() -> None:
    text = """
        [kubernetes]
        namespace = "batch"
        fleet = "night"
        image = "registry.example/predibase/lorax:0.12.1"

        [[kubernetes.slots]]
        class = "a100"
        count = 2
        gpu_kind = "a100-80"
        memory_gib = 80
        gpu_count = 1
        node_selector = { "cloud.example/pool" = "gpu" }
        tolerations = [{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }]
        start_timeout_s = 900
    """
    fleet = read_kubernetes_fleet(parse_toml(text, "fleet.toml")["kubernetes"])
    slots = [slot for slot, _ in fleet.slot_table().values()]
    assert [(slot.slot_id, slot.gpu_kind, slot.start_timeout_s) for slot in slots] == [
        ("a100-0", "a100-80", 900),
        ("a100-1", "a100-80", 900),
    ]
    assert fleet.repository == "registry.example/predibase/lorax"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "registry.example/lorax"}, r"kubernetes\.image: 'registry.example/lorax' is not of the form"),
        ({"image": ""}, r"kubernetes\.image"),
        ({"env": {"HF_TOKEN": "x"}}, r"kubernetes\.env: HF_TOKEN can't be set here: .* token_secret"),
        ({"slots": []}, r"kubernetes\.slots"),
        ({"namespace": "Batch"}, r"kubernetes\.namespace"),
        ({"fleet": "a" * 19}, r"kubernetes\.fleet"),
        ({"fleet": "night\n"}, r"kubernetes\.fleet"),
        ({"replicas": 3}, "kubernetes: .*replicas"),
        ({"slots": [SLOT | {"count": 0}]}, r"kubernetes\.slots\[0\]\.count"),
        ({"slots": [SLOT | {"memory_gib": "80"}]}, r"kubernetes\.slots\[0\]\.memory_gib"),
        ({"slots": [SLOT | {"memory_gib": -1}]}, r"kubernetes\.slots\[0\]\.memory_gib"),
        ({"slots": [SLOT | {"gpu": 1}]}, r"kubernetes\.slots\[0\]: .*gpu"),
        ({"slots": [{"class": "a100", "count": 1}]}, r"kubernetes\.slots\[0\]\.memory_gib: is missing"),
        ({"slots": [SLOT | {"memory_gib": float("inf")}]}, r"memory_gib = inf: must be a number <= 10000"),
        ({"slots": [SLOT | {"cpu": float("nan")}]}, r"slots\[0\]\.cpu = nan: must be a number"),
        ({"slots": [SLOT | {"class": "A_b"}]}, r"slots\[0\]\.class = 'A_b': must be 1 to 18 lower-case letters"),
        ({"slots": [SLOT | {"gpu_resource": "a gpu"}]}, r"slots\[0\]\.gpu_resource = 'a gpu': must be \[PREFIX/\]NAME"),
        ({"slots": [SLOT | {"node_selector": {"a b": "c"}}]}, r"slots\[0\]\.node_selector\.a b = 'a b': must be"),
        (
            {"slots": [SLOT | {"node_selector": {"a": "b c"}}]},
            r"slots\[0\]\.node_selector\.a = 'b c': must be the value",
        ),
        ({"slots": [SLOT | {"node_selector": {"a": 1}}]}, r"slots\[0\]\.node_selector\.a = 1: must be a text"),
        (
            {"slots": [SLOT | {"tolerations": [{"key": "a", "operator": "Exits"}]}]},
            r"tolerations\[0\]\.operator = 'Exits': must be one of 'Exists', 'Equal', ''",
        ),
        (
            {"slots": [SLOT | {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}]},
            r"tolerations\[0\]\.value = 'b': operator 'Exists' takes no value",
        ),
        ({"slots": [SLOT | {"tolerations": [{"value": "b"}]}]}, r"tolerations\[0\]\.key: is empty"),
        ({"slots": [SLOT | {"tolerations": [{"kee": "a"}]}]}, r"unknown key 'kee' \(did you mean 'key'\?\)"),
        ({"env": {"A B": "c"}}, r"kubernetes\.env: 'A B' can't be a variable"),
        ({"env": {"KEY": 3}}, r"kubernetes\.env\.KEY: must be a text"),
        ({"image_pull_secret": "Mine!"}, r"kubernetes\.image_pull_secret = 'Mine!'"),
        (
            {"slots": [SLOT | {"tolerations": [{"effect": "Never"}]}]},
            r"kubernetes\.slots\[0\]\.tolerations\[0\]\.effect",
        ),
        ({"slots": [SLOT, SLOT]}, "slot 'a100-0' comes from two classes"),
        ({"data_claim": "a", "data_host_path": "/b"}, "exclude each other"),
        ({"data_host_path": "weights"}, r"kubernetes\.data_host_path: 'weights' is not absolute"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_kubernetes_fleet(fleet_table(**change))


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lorax-batch\[kubernetes\]'"):
        kubernetes_host(read_kubernetes_fleet(fleet_table()))


def test_the_library_is_not_loaded_before_it_is_used() -> None:
    import subprocess

    code = (
        "import sys; from lorax_batch_scheduler.server_hosts.kubernetes import kubernetes_host; "
        "assert 'kubernetes_asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_missing_credentials_are_told(tmp_path: Path) -> None:
    require_client()
    fleet = read_kubernetes_fleet(fleet_table(kubeconfig=str(tmp_path / "none")))
    with pytest.raises(ConfigurationError, match="no credentials for the cluster"):
        await kubernetes_host(fleet).run(lambda: None)


@pytest.mark.parametrize("text", ["", "clusters: 7", "[1", "apiVersion: v1\nusers: [{}]", "\x00", "current-context: a"])
async def test_a_kubeconfig_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text, encoding="utf-8")
    fleet = read_kubernetes_fleet(fleet_table(kubeconfig=str(tmp_path / "config")))
    with pytest.raises(ConfigurationError, match="no credentials for the cluster"):
        await kubernetes_host(fleet).run(lambda: None)


async def test_an_unknown_context_is_told(cluster: FakeCluster) -> None:
    host = cluster.host(context="elsewhere")
    with pytest.raises(ConfigurationError, match="elsewhere"):
        await host.run(lambda: None)
