"""What is sealed opens only with its key, and only where it belongs."""

from dataclasses import replace
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError, NoSecretsKeyError, SecretUnreadableError
from lorax_batch_scheduler.sealing.key_ring import KeyRing, SealingKey, new_key
from lorax_batch_scheduler.sealing.key_source import FixedKeys, KeyFile, ensure_key_file
from lorax_batch_scheduler.sealing.sealer import Sealer

from tests.certificates import write_anew

PLACE = "job_secrets/job_1"


def sealer_of(*keys: SealingKey) -> Sealer:
    return Sealer(FixedKeys(KeyRing(keys=keys)))


def test_a_secret_opens_where_it_was_sealed_for() -> None:
    sealer = sealer_of(new_key())
    sealed, again = sealer.seal(b"hf_token", place=PLACE), sealer.seal(b"hf_token", place=PLACE)
    assert sealer.open(sealed, place=PLACE) == b"hf_token"
    assert sealed.blob != again.blob
    assert b"hf_token" not in sealed.blob


def test_it_opens_at_no_other_place_with_no_other_key_and_not_when_changed() -> None:
    key = new_key()
    sealer, sealed = sealer_of(key), sealer_of(key).seal(b"hf_token", place=PLACE)
    with pytest.raises(SecretUnreadableError, match="job_2"):
        sealer.open(sealed, place="job_secrets/job_2")
    with pytest.raises(SecretUnreadableError, match="another key has that id"):
        sealer_of(replace(new_key(), key_id=key.key_id)).open(sealed, place=PLACE)
    with pytest.raises(SecretUnreadableError, match=f"does not have key '{key.key_id}'"):
        sealer_of(new_key()).open(sealed, place=PLACE)
    for blob in (
        b"",
        sealed.blob[:11],
        sealed.blob[:-1],
        sealed.blob + b"x",
        bytes([sealed.blob[0] ^ 1]) + sealed.blob[1:],
    ):
        with pytest.raises(SecretUnreadableError):
            sealer.open(replace(sealed, blob=blob), place=PLACE)


def test_the_first_key_seals_and_all_open() -> None:
    old, new = new_key(), new_key()
    sealed = sealer_of(old).seal(b"x", place=PLACE)
    both = sealer_of(new, old)
    assert both.open(sealed, place=PLACE) == b"x"
    assert both.seal(b"x", place=PLACE).key_id == both.current_key_id == new.key_id
    assert (both.knows(old.key_id), sealer_of(new).knows(old.key_id)) == (True, False)


def test_without_a_key_nothing_is_sealed_or_opened() -> None:
    sealer = Sealer(FixedKeys())
    assert sealer.current_key_id is None
    with pytest.raises(NoSecretsKeyError, match="secrets_key_file"):
        sealer.seal(b"x", place=PLACE)
    with pytest.raises(SecretUnreadableError):
        sealer.open(sealer_of(new_key()).seal(b"x", place=PLACE), place=PLACE)


def test_a_key_that_comes_into_the_file_counts_at_once_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    path, old, new = tmp_path / "keys", new_key(), new_key()
    write_anew(path, str(old).encode())
    sealer = Sealer(KeyFile(path))
    assert sealer.current_key_id == old.key_id
    write_anew(path, f"{new}\n{old}".encode())
    assert sealer.current_key_id == new.key_id
    write_anew(path, b"k:short")
    assert sealer.current_key_id == new.key_id
    path.unlink()
    assert sealer.current_key_id == new.key_id


def test_a_file_that_can_not_be_used_is_told_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"secrets_key_file '.*none' can't be read: No such file"):
        KeyFile(tmp_path / "none")
    (tmp_path / "keys").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not text"):
        KeyFile(tmp_path / "keys")


def test_a_key_of_our_own_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    assert ensure_key_file(path)
    made = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not ensure_key_file(path)
    assert path.read_bytes() == made
    assert KeyFile(path).ring().current.key_id.startswith("key-")
    assert [each.name for each in tmp_path.iterdir()] == ["secrets.key"]
