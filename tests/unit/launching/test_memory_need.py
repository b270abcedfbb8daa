"""What fits where, and what is said when nothing does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.launching.memory_need import (
    BYTES_PER_WEIGHT,
    fits,
    kv_bytes_per_token,
    need_bytes,
    weight_bytes,
    why_unfit,
)
from lorax_batch_scheduler.server_config import QUANTIZATIONS
from lorax_batch_scheduler.server_memory import MIN_KV_TOKENS, kv_tokens, least_memory_bytes

from tests.unit.launching.examples import CATALOGUE, GIB, MISTRAL, UNLISTED, model, slot


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


def test_a_model_of_unknown_size_runs_only_where_nobody_knows_better() -> None:
    assert need_bytes(UNLISTED) is None
    assert fits(UNLISTED, "", slot(0))
    assert fits(UNLISTED, "", slot(80, declared_model="acme/new-model"))
    assert not fits(UNLISTED, "", slot(80))
    assert why_unfit(UNLISTED, "", [slot(80)]) == (
        "the size of acme/new-model is unknown, so no slot of known memory is tried (the largest has 80.0 GiB): "
        "declare it in the service's catalogue file with parameters, bytes_per_weight and context_length"
    )


def test_what_fits_nowhere_is_told_with_both_sizes() -> None:
    slots = [slot(8), slot(16)]
    assert why_unfit(MISTRAL, "", slots) == (
        "a server of mistral-7b-instruct-v0-2 needs 21.2 GiB, but the largest slot has 16.0 GiB: ask for a "
        "quantization, or give the fleet a larger slot"
    )
    assert why_unfit(MISTRAL, "awq", [slot(8)]) == (
        "a server of mistral-7b-instruct-v0-2 (awq) needs 11.6 GiB, but the largest slot has 8.0 GiB: give the fleet a "
        "larger slot"
    )
    assert why_unfit(MISTRAL, "awq", slots) == why_unfit(MISTRAL, "", [*slots, slot(0)]) == ""
    assert why_unfit(MISTRAL, "", []) == ""


def test_a_need_that_exceeds_a_slot_by_a_byte_looks_larger() -> None:
    need = need_bytes(MISTRAL)
    assert need is not None
    told = why_unfit(MISTRAL, "", [slot((need - 1) / GIB)])
    assert "needs 21.2 GiB, but the largest slot has 21.1 GiB" in told


@given(st.integers(1, 10**12), st.integers(1, 10**7))
def test_the_least_memory_just_holds_the_least_cache(weights: int, kv_bytes: int) -> None:
    least = least_memory_bytes(weights, kv_bytes)
    assert kv_tokens(least, weights, kv_bytes) >= MIN_KV_TOKENS
    assert kv_tokens(least * 0.999 - 10, weights, kv_bytes) < MIN_KV_TOKENS
