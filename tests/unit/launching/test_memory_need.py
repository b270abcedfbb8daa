"""What fits where, and what is said when nothing does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.launching.memory_need import (
    BYTES_PER_WEIGHT,
    kv_bytes_per_token,
    need_bytes,
    weight_bytes,
)
from lorax_batch_scheduler.server_config import QUANTIZATIONS
from lorax_batch_scheduler.server_memory import MIN_KV_TOKENS, kv_tokens, least_memory_bytes

from tests.unit.launching.examples import CATALOGUE, GIB, MISTRAL, UNLISTED, model


@pytest.mark.parametrize(
    ("name", "quantization", "gib"),
    [
        ("mistral-7b-instruct-v0-2", "", 21.2),
        ("mistral-7b-instruct-v0-2", "eetq", 14.8),
        ("mistral-7b-instruct-v0-2", "awq", 11.6),
        ("mistral-7b-instruct-v0-2", "fp8-kv", 14.5),
        ("llama-2-13b", "", 36.3),
        ("bge-base-en-v1-5", "", 6.0),
    ],
)
def test_a_server_needs_its_weights_the_engine_and_a_least_cache(name: str, quantization: str, gib: float) -> None:
    need = need_bytes(model(name), quantization)
    assert need is not None
    assert need / GIB == pytest.approx(gib, abs=0.06)


def test_every_quantization_has_a_size() -> None:
    assert set(BYTES_PER_WEIGHT) == set(QUANTIZATIONS)
    for quantization in QUANTIZATIONS:
        assert weight_bytes(MISTRAL, quantization) < weight_bytes(MISTRAL)


def test_weights_that_are_small_already_do_not_grow() -> None:
    small = BaseModel(
        name="m", hf_id="m", aliases=(), parameters=10**9, bytes_per_weight=0.5, context_length=0, kv_bytes_per_token=1
    )
    assert weight_bytes(small, "awq") == weight_bytes(small) == 500_000_000


def test_the_bound_for_unknown_caches_holds_for_every_decoder_of_the_catalogue() -> None:
    for listed in CATALOGUE:
        if listed.kv_bytes_per_token is not None:
            unknown = BaseModel(
                name="m",
                hf_id="m",
                aliases=(),
                parameters=listed.parameters,
                bytes_per_weight=2.0,
                context_length=0,
                kv_bytes_per_token=None,
            )
            assert kv_bytes_per_token(unknown) >= listed.kv_bytes_per_token, listed.name


def test_the_need_of_a_model_of_unknown_size_is_unknown() -> None:
    assert need_bytes(UNLISTED) is None


@given(st.integers(1, 10**12), st.integers(1, 10**7))
def test_the_least_memory_just_holds_the_least_cache(weights: int, kv_bytes: int) -> None:
    least = least_memory_bytes(weights, kv_bytes)
    assert kv_tokens(least, weights, kv_bytes) >= MIN_KV_TOKENS
    assert kv_tokens(least * 0.999 - 10, weights, kv_bytes) < MIN_KV_TOKENS
