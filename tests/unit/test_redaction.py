"""Secrets are taken out of texts."""

import base64
import json
import random

import pytest
from lorax_batch_scheduler.redaction import _KEPT, BLOT, Redactor

TOKEN = "s3cr3t-of-the-adapter"


@pytest.fixture
def redactor() -> Redactor:
    found = Redactor()
    found.remember(TOKEN)
    return found


def test_a_known_secret_is_blotted_out_wherever_it_stands(redactor: Redactor) -> None:
    assert redactor.clean(f"a{TOKEN}b {TOKEN}") == f"a{BLOT}b {BLOT}"
    assert redactor.clean_bytes(b"\xff" + TOKEN.encode()) == b"\xff" + BLOT.encode()
    assert redactor.clean_value({"a": [TOKEN, 1, {"b": (TOKEN,)}]}) == {"a": [BLOT, 1, {"b": [BLOT]}]}


def test_also_as_it_stands_in_json_and_in_base64(redactor: Redactor) -> None:
    assert redactor.clean(base64.b64encode(TOKEN.encode()).decode()) == BLOT
    odd = 'quo"te\\slash'
    redactor.remember(odd)
    assert redactor.clean(json.dumps({"token": odd})) == f'{{"token": "{BLOT}"}}'


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (f"token hf_{'a1B2' * 8}!", f"token {BLOT}!"),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {BLOT}"),
        ("postgresql://me:pass@host/db", f"postgresql://{BLOT}@host/db"),
        ("http://10.0.0.1:8080/x@y", "http://10.0.0.1:8080/x@y"),
        ("hf_token is write-only", "hf_token is write-only"),
    ],
)
def test_what_looks_like_a_secret_is_blotted_out_and_nothing_else(text: str, cleaned: str) -> None:
    assert Redactor().clean(text) == cleaned


def test_callers_can_neither_take_words_out_of_the_log_nor_fill_the_memory() -> None:
    redactor = Redactor()
    for secret in ("", "error", "x" * 1_001):
        redactor.remember(secret)
    assert redactor.clean(f"error {'x' * 1_001}") == f"error {'x' * 1_001}"
    chance = random.Random(1)
    secrets = [f"{chance.getrandbits(128):x}" for _ in range(_KEPT + 1)]
    for secret in secrets:
        redactor.remember(secret)
    assert redactor.clean(secrets[0]) == secrets[0]
    assert redactor.clean(secrets[1]) == redactor.clean(secrets[-1]) == BLOT
