"""What the contract, the documentation and the settings say of limits is what the code does."""

import re
from pathlib import Path

import annotated_types
import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.ingest import engine, limits, report
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_server import (
    batch_inference,
    checks,
    datasets,
    fleet,
    job_requests,
    listen_address,
    server_spec,
    tenant_requests,
    tenants,
)
from lorax_batch_server.listen_address import parse_listen
from lorax_batch_server.server import MAX_UPLOAD_MESSAGE_BYTES
from lorax_batch_server.server_spec import parse_server
from lorax_batch_server.settings import Settings, load_settings

from tests.fuzz.test_dataset_limits import ROW_LIMITS
from tests.fuzz.test_request_limits import LIMITS

ROOT = Path(__file__).parents[2]
PROTOS = "protos/lorax_batch/v1/"
STATED = [
    (PROTOS + "batch_inference.proto", r"1 to ([\d,]+); 0: (\d+)",
     [checks.MAX_PAGE_SIZE, batch_inference.DEFAULT_PAGE_SIZE]),
    (PROTOS + "datasets.proto", r"1 to ([\d,]+); 0: (\d+)", [checks.MAX_PAGE_SIZE, datasets.DEFAULT_PAGE_SIZE]),
    (PROTOS + "fleet.proto", r"1 to ([\d,]+); 0: (\d+)", [checks.MAX_PAGE_SIZE, fleet.DEFAULT_PAGE_SIZE]),
    (PROTOS + "tenants.proto", r"1 to ([\d,]+); 0: (\d+)", [checks.MAX_PAGE_SIZE, tenants.DEFAULT_PAGE_SIZE]),
    (PROTOS + "tenants.proto", r"For people; at most (\d+) characters", [checks.MAX_NAME_CHARACTERS]),
    (PROTOS + "tenants.proto", r"between 0\.001 and ([\d,]+); unset", [int(tenant_requests.MAX_SHARE_WEIGHT)]),
    (PROTOS + "batch_inference.proto", r"At most (\d+) characters\. Makes", [checks.MAX_REQUEST_ID_CHARACTERS]),
    (PROTOS + "datasets.proto", r"At most (\d+) characters", [checks.MAX_REQUEST_ID_CHARACTERS]),
    (PROTOS + "batch_inference.proto", r"reason; at most (\d+) characters", [checks.MAX_REASON_CHARACTERS]),
    (PROTOS + "job.proto", r"At most (\d+); keys of 1 to (\d+), values of at most (\d+) characters",
     [checks.MAX_LABELS, checks.MAX_LABEL_KEY_CHARACTERS, checks.MAX_LABEL_VALUE_CHARACTERS]),
    (PROTOS + "job.proto", r"runs earlier; -(\d+) to (\d+)", [job_requests.MAX_PRIORITY, job_requests.MAX_PRIORITY]),
    (PROTOS + "dataset.proto", r"name for it: at most (\d+) characters", [checks.MAX_NAME_CHARACTERS]),
    (PROTOS + "dataset.proto", r"at most ([\d,]+) of them", [engine._MAX_MODELS_LISTED]),
    (PROTOS + "dataset.proto", r"with this code, at most (\d+)", [report.MAX_LINES_A_CODE]),
    (PROTOS + "datasets.proto", r"any size up to (\d+) MiB", [MAX_UPLOAD_MESSAGE_BYTES >> 20]),
    ("docs/rows.md", r"unique string of 1 to (\d+) characters", [limits.MAX_CUSTOM_ID_CHARACTERS]),
    ("docs/rows.md", r"the service's \(([\d,]+)\)", [Settings.model_fields["default_max_tokens"].default]),
    ("docs/rows.md", r"a line may have (\d+) MiB less (\d+) KiB",
     [2, ((2 << 20) - IngestLimits().max_line_bytes) >> 10]),
]  # fmt: skip


@pytest.mark.parametrize(("file", "words", "expected"), STATED)
def test_a_limit_that_is_stated_is_the_limit(file, words, expected):
    text = re.sub(r"\s*\n\s*(//)?\s*", " ", (ROOT / file).read_text(encoding="utf-8"))
    found = [[int(number.replace(",", "")) for number in match.groups()] for match in re.finditer(words, text)]
    assert found, f"{file} no longer says '{words}'"
    assert all(numbers == expected for numbers in found)


INSIDE = {
    "running/": "how rows are tried again and how much is looked at ahead: nobody sends it",
    "packing/": "how much is decided at once",
    "replay/": "what imagined servers take; tests/unit/traces has the limits of trace files",
    "estimates/": "what is learned of servers and rows",
    "launching/": "what servers are started with",
    "tls/pem_file.py": "files of the operator; tests/unit/tls has it",
    "scheduling/start_failures.py": "how servers are started again",
    "server_hosts/": "how servers are started and watched",
    "lorax_servers/": "what a server may answer",
    "failpoints": "for tests",
    "chunk.py": "how rows are stored; tests/unit/ingest/test_engine.py has them",
    "ingest/custom_ids.py": "memory",
    "ingest/constraints.py": "memory",
    "ingest/child.py": "frames between our own processes",
    "ingest/fault.py": "how much of a value is shown",
    "ingest/ingestion.py": "how often our own process may die",
    "watch.py": "memory",
    "input_order.py": "memory",
    "translate_job.py": "what is said of the end of a job",
    "job_intake.py": "how much of a value is shown",
    "webhook": "what receivers may do, and memory; tests/integration/webhooks has those of callers",
    "status.py": "how much is said; tests/unit/server/test_status.py has them",
    "checks.py:_MAX_VIOLATIONS": "how much is said",
    "server.py:MAX_PENDING_CALLS": "calls at once; tests/integration/api has 3,000",
    "exporter.py:MAX_ATTEMPTS": "how often a copy is tried; tests/integration/postgres/test_exporter.py has it",
    "telemetry/": "how many values a label may have",
    "objects/caller_buckets.py": "what S3 allows; tests/integration/test_caller_buckets.py has it",
    "exports.py:MAX_DESTINATION": "longer than any key of S3 is; tests/integration/test_caller_buckets.py has that",
    "trace_metadata.py": "what is longer is no trace; tests/unit/observability has it",
    "doctor/": "from when on the doctor speaks up; tests/unit/doctor has them",
    "finaliser.py:MAX_ATTEMPTS": "deaths of processes, not a size; tests/faults/scenarios has them",
}
"""Limits that no caller can go past."""
TESTED_HERE = {
    "MAX_LINES_A_CODE", "_MAX_MODELS_LISTED", "MAX_UPLOAD_MESSAGE_BYTES", "MAX_IN_FLIGHT", "MAX_SOCKET_BYTES",
    "MAX_CUSTOM_ID_CHARACTERS", "MAX_PAGE_TOKEN_CHARACTERS", "DEFAULT_MAX_PARAMETERS", "MAX_SPAN",
    "MAX_SECRET_CHARACTERS", "MAX_FILE_CHARACTERS",
}  # fmt: skip


def test_every_limit_in_the_code_is_tested_at_and_above():
    tested = {name.split()[0] for name in (*LIMITS, *ROW_LIMITS)} | TESTED_HERE
    unknown = []
    for path in [*(ROOT / "scheduler").rglob("*.py"), *(ROOT / "server").rglob("*.py")]:
        for name in re.findall(r"^(_?MAX_[A-Z0-9_]+)\b.* = ", path.read_text(encoding="utf-8"), re.MULTILINE):
            inside = any(part in f"{path}:{name}" for part in INSIDE)
            if not inside and name not in tested:
                unknown.append(f"{path.relative_to(ROOT)}: {name}")
    assert unknown == []


BOUNDED = [
    (name, bound, type(constraint) is annotated_types.Ge)
    for name, field in Settings.model_fields.items()
    for constraint in field.metadata
    if (bound := getattr(constraint, "ge", getattr(constraint, "le", None))) is not None
]


@pytest.mark.parametrize(("name", "bound", "is_low"), BOUNDED)
def test_a_setting_may_go_up_to_its_limits_and_no_further(name, bound, is_low, tmp_path):
    config = tmp_path / "service.toml"
    config.write_text(f"{name} = {bound}")
    assert getattr(load_settings(config), name) == bound
    beyond = bound + (-1 if is_low else 1)
    config.write_text(f"{name} = {beyond}")
    with pytest.raises(ConfigurationError) as told:
        load_settings(config)
    assert f"setting {name} = {beyond}: " in str(told.value)
    assert any(text in str(told.value) for text in (f"{bound:g}", str(bound), f"{bound:.0f}"))


def test_what_a_server_takes_at_once_has_a_limit():
    most = server_spec.MAX_IN_FLIGHT
    assert parse_server(f"http://a,max-in-flight={most}").max_in_flight == most
    for wrong in (0, most + 1, "9" * 5_000):
        with pytest.raises(ConfigurationError, match="max-in-flight must be between 1 and 10,000"):
            parse_server(f"http://a,max-in-flight={wrong}")


def test_a_port_and_a_socket_have_limits():
    assert parse_listen("localhost:65535").port == 65_535
    for wrong in ("65536", "9" * 5_000):
        with pytest.raises(ConfigurationError, match="is not HOST:PORT"):
            parse_listen(f"localhost:{wrong}")
    longest = "s" * listen_address.MAX_SOCKET_BYTES
    assert parse_listen(f"unix:{longest}").socket == longest
    with pytest.raises(ConfigurationError, match="must have 1 to 107 bytes"):
        parse_listen(f"unix:{longest}s")
