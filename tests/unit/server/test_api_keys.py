"""Secrets: what they look like, how they are sent, and what can't be one."""

import pytest
from lorax_batch_client.channel import key_metadata
from lorax_batch_server.api_keys import MAX_SECRET_CHARACTERS, new_key_id, new_secret, secret_sha256, sent_secret
from lorax_batch_server.errors import KeyMissingError


def test_secrets_are_long_differ_and_begin_alike():
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) == 47 and secret.startswith("lxb_") for secret in made)
    assert len({new_key_id() for _ in range(100)}) == 100


def test_only_a_hash_is_stored():
    assert len(secret_sha256("lxb_a")) == 32
    assert secret_sha256("lxb_a") != secret_sha256("lxb_b")


@pytest.mark.parametrize("value", ["Bearer lxb_a", "bearer lxb_a", "BEARER  lxb_a ", b"Bearer lxb_a"])
def test_a_secret_is_found_as_it_is_sent(value):
    assert sent_secret([("user-agent", "x"), ("authorization", value)]) == "lxb_a"
    assert sent_secret(key_metadata("lxb_a")) == "lxb_a"


@pytest.mark.parametrize("value", ["", "lxb_a", "Bearer", "Bearer ", "Basic lxb_a", b"\xff", "Bearer " + "x" * 5_000])
def test_anything_else_is_no_secret(value):
    with pytest.raises(KeyMissingError, match="not of the form `Bearer KEY`"):
        sent_secret([("authorization", value)])


def test_a_secret_may_have_200_characters():
    sent_secret([("authorization", "Bearer " + "x" * MAX_SECRET_CHARACTERS)])
    with pytest.raises(KeyMissingError):
        sent_secret([("authorization", "Bearer " + "x" * (MAX_SECRET_CHARACTERS + 1))])


def test_a_client_refuses_what_no_header_can_hold():
    assert key_metadata("") == ()
    for wrong in ("a b", "a\n", "ä", "a\x00"):
        with pytest.raises(ValueError, match="characters that no key has"):
            key_metadata(wrong)
