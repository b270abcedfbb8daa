"""Certificates and keys are checked before they are used."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tls.file_changes import FileChanges
from lorax_batch_scheduler.tls.pem_file import MAX_PEM_BYTES, PemFile, check_authorities, check_identity

from tests.bad_certificates import BAD_IDENTITIES
from tests.certificates import Authority, Issued, write_anew


def check(issued: Issued, now: datetime | None = None) -> None:
    check_identity(
        PemFile(setting="tls_cert", path=issued.cert),
        PemFile(setting="tls_key", path=issued.key),
        now=now or datetime.now(UTC),
    )


def test_a_certificate_and_its_key_pass_until_it_expires(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue()
    check(issued)
    with pytest.raises(ConfigurationError, match=r"tls_cert .*expired at .*CN=server.*renew"):
        check(issued, datetime.now(UTC) + timedelta(days=31))
    with pytest.raises(ConfigurationError, match=r"tls_cert .*counts only from .*clock"):
        check(issued, datetime.now(UTC) - timedelta(days=2))


@pytest.mark.parametrize("fault", BAD_IDENTITIES)
def test_a_bad_one_is_told_with_its_setting_and_its_file(fault: str, tmp_path: Path) -> None:
    spoil, at_fault, said = BAD_IDENTITIES[fault]
    authority = Authority(tmp_path)
    spoiled = spoil(authority, authority.issue())
    with pytest.raises(ConfigurationError, match=said) as refused:
        check(spoiled)
    assert f"tls_{at_fault} '{spoiled.cert if at_fault == 'cert' else spoiled.key}'" in str(refused.value)


def test_of_authorities_one_must_count_now(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    file = PemFile(setting="server_ca", path=authority.file)
    check_authorities(file, now=datetime.now(UTC))
    old = authority.issue("old", days=(-9, -1)).cert
    authority.file.write_bytes(old.read_bytes() + authority.file.read_bytes())
    check_authorities(file, now=datetime.now(UTC))
    authority.file.write_bytes(old.read_bytes())
    with pytest.raises(ConfigurationError, match=r"server_ca .*expired"):
        check_authorities(file, now=datetime.now(UTC))


def test_a_file_may_have_its_largest_size_and_no_more(tmp_path: Path) -> None:
    file = PemFile(setting="tls_cert", path=tmp_path / "large")
    whole = b"-----BEGIN X-----\n-----END X-----\n"
    file.path.write_bytes(whole + bytes(MAX_PEM_BYTES - len(whole)))
    file.read()
    file.path.write_bytes(whole + bytes(MAX_PEM_BYTES - len(whole) + 1))
    with pytest.raises(ConfigurationError, match="4,194,304 bytes"):
        file.read()


def test_a_file_that_was_replaced_or_removed_has_changed_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    changes = FileChanges([path])
    assert not changes.found()
    for data in (b"one", b"two"):
        write_anew(path, data)
        assert (changes.found(), changes.found()) == (True, False)
    path.unlink()
    assert (changes.found(), changes.found()) == (True, False)
