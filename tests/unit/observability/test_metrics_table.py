"""Every metric is in the operators' table with its kind and labels, and the other way around."""

from tests.unit.observability.markdown_table import table
from tests.unit.observability.registries import full_registry


def test_the_table_of_metrics_is_what_a_process_tells() -> None:
    told = {name: (kind, labels) for name, kind, labels, _ in table("metric")}
    exposed = {}
    for family in full_registry().collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exposed[name] = (family.type, labels)
    assert sorted(told) == sorted(exposed)
    kinds = {name: kind for name, (kind, _) in exposed.items()}
    assert {name: kind for name, (kind, _) in told.items()} == kinds
    # Metrics of calls have no sample yet; of all others the labels are known.
    for name, (_, labels) in exposed.items():
        if labels:
            assert set(told[name][1].split(", ")) == labels, name


def test_no_metric_is_labelled_by_what_callers_name() -> None:
    labels = {label for _, _, labels, _ in table("metric") for label in labels.split(", ") if label}
    assert labels == {
        "outcome", "kind", "reason", "stage", "slot", "state", "family", "model", "operation", "method", "code",
    }  # fmt: skip
