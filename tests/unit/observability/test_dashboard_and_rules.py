"""The dashboard and the alert rules ask for metrics that there are, with labels that they have."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.observability.markdown_table import table
from tests.unit.observability.registries import full_registry, sample_names

FOLDER = Path(__file__).parents[3] / "deploy" / "observability"
OTHERS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Told by Prometheus itself, and by its client library on Linux."""
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that every series may have."""
METRIC = re.compile(r"\b(?:lorax_batch_\w+|process_\w+|up\b)")
SELECTOR = re.compile(r"(lorax_batch_\w+)\{([^}]*)\}")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def questions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def rules() -> str:
    return (FOLDER / "rules.yml").read_text()


def alerts() -> list[str]:
    return re.findall(r"^ +- alert: (\w+)$", rules(), re.MULTILINE)


def expressions() -> list[str]:
    blocks = re.findall(r"expr: (.*?)\n +(?:for|labels):", rules(), re.DOTALL)
    assert len(blocks) == len(alerts())
    return blocks


def known_labels(metric: str) -> set[str]:
    told = {name: labels for name, _, labels, _ in table("metric")}
    name = metric if metric in told else re.sub(r"_(bucket|count|sum)$", "", metric)
    return set(told[name].split(", ")) | OF_PROMETHEUS


def test_every_metric_asked_for_is_told() -> None:
    names = {name for text in [*questions(), *expressions()] for name in METRIC.findall(text)}
    # Calls have samples only once there was one; the table of metrics knows their names.
    told = {name for name, *_ in table("metric")}
    told |= {
        f"{name}_{part}" for name, kind, *_ in table("metric") if kind == "histogram" for part in ("bucket", "count")
    }
    assert names - OTHERS - told == set()
    assert names - OTHERS - sample_names(full_registry()) == {
        "lorax_batch_grpc_calls_total", "lorax_batch_grpc_call_seconds_bucket", "lorax_batch_grpc_open_calls",
    }  # fmt: skip


def test_every_label_asked_for_exists() -> None:
    for text in [*questions(), *expressions()]:
        for metric, selector in SELECTOR.findall(text):
            assert set(re.findall(r"(\w+)(?:=~|=|!=)", selector)) <= known_labels(metric), text
        grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", text) for label in labels.split(",")}
        for metric in METRIC.findall(text):
            if metric not in OTHERS and "histogram_quantile" not in text:
                assert grouped <= known_labels(metric), text


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = {re.sub(r"_(bucket|count)$", "", name) for text in questions() for name in METRIC.findall(text)}
    assert {name for name, *_ in table("metric")} - shown == set()


def test_panels_have_ids_and_places_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_operators_are_told_what_to_do_for_each_alert() -> None:
    assert [alert for alert, *_ in table("alert")] == alerts()


def test_the_rules_do_as_they_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus): alert rules were NOT evaluated")
    for arguments in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_of_its_own() -> None:
    tested = re.findall(r"^ +alertname: (\w+)\n +exp_alerts:", (FOLDER / "rules_test.yml").read_text(), re.MULTILINE)
    assert set(tested) == set(alerts())
