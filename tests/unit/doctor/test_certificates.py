"""How long certificates still count."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from lorax_batch_server.doctor.certificates import judge_certificates
from lorax_batch_server.doctor.finding import Verdict
from lorax_batch_server.doctor.store import clock_address, judge_store_clock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(*, begins: datetime, ends: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "batch.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("begins_days", "ends_days", "verdict", "said"),
    [
        (-100, 100, Verdict.OK, "counts until 2026-04-11"),
        (-100, 5, Verdict.WARNING, "renew it"),
        (-100, -1, Verdict.ERROR, "expired"),
        (1, 100, Verdict.ERROR, "counts only from"),
    ],
)
def test_a_certificate_is_judged_by_its_days(
    tmp_path: Path, begins_days: int, ends_days: int, verdict: Verdict, said: str
) -> None:
    file = tmp_path / "cert.pem"
    good = certificate(begins=NOW - timedelta(days=1_000), ends=NOW + timedelta(days=1_000))
    bad = certificate(begins=NOW + timedelta(days=begins_days), ends=NOW + timedelta(days=ends_days))
    file.write_bytes(good + bad)
    found = judge_certificates("tls_cert", file, NOW)
    assert found.verdict is verdict
    assert said in f"{found.message} {found.advice}"


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("nothing")
    assert judge_certificates("tls_cert", file, NOW).verdict is Verdict.ERROR
    assert judge_certificates("tls_cert", tmp_path / "gone.pem", NOW).verdict is Verdict.ERROR


def test_the_store_that_is_asked_for_the_time_is_the_one_of_the_url() -> None:
    assert clock_address("s3://b/p?endpoint=http://minio:9000&region=x") == "http://minio:9000"
    assert clock_address("s3://b/p?region=eu-west-1") == "https://s3.eu-west-1.amazonaws.com"
    assert clock_address("/objects") is None


@pytest.mark.parametrize(("off_s", "verdict"), [(1, Verdict.OK), (120, Verdict.WARNING), (1_000, Verdict.ERROR)])
def test_a_store_refuses_a_clock_that_is_far_off(off_s: int, verdict: Verdict) -> None:
    assert judge_store_clock(NOW, NOW + timedelta(seconds=off_s)).verdict is verdict
    assert judge_store_clock(NOW, NOW - timedelta(seconds=off_s)).verdict is verdict
