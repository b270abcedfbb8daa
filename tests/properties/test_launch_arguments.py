"""Derived arguments never contradict each other, whatever the data, the model, the slot and the caller's own."""

from hypothesis import assume, given
from hypothesis import strategies as st
from lorax_batch_scheduler.catalogue import BaseModel, Catalogue
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launching.custom_arguments import check_custom_arguments, count_of, parse_arguments, value_of
from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.launching.derivation import derive_launch
from lorax_batch_scheduler.launching.memory_need import kv_bytes_per_token, need_bytes, weight_bytes
from lorax_batch_scheduler.launching.row_need import row_need, started_limits
from lorax_batch_scheduler.server_config import QUANTIZATIONS, ServerConfig
from lorax_batch_scheduler.server_memory import MIN_KV_TOKENS, kv_tokens

MODELS = [*Catalogue.load(), Catalogue([], accept_unlisted=True).resolve("acme/new")]
TOKENS = st.one_of(st.integers(0, 300), st.integers(0, 200_000))

shapes = st.builds(
    DataShape,
    longest_prompt_tokens=TOKENS,
    prompts_are_counted=st.booleans(),
    largest_max_tokens=TOKENS,
    adapters=st.integers(0, 10_000),
    adapter_bytes=st.one_of(st.just(0), st.integers(1, 1 << 36)),
    adapter_rank=st.integers(0, 256),
)
slots = st.builds(
    Slot,
    slot_id=st.just("s"),
    kind=st.just("command"),
    memory_bytes=st.one_of(st.just(0), st.integers(1, 200 << 30)),
    gpu_share=st.sampled_from([1.0, 0.5, 0.25]),
)
counts = st.tuples(
    st.sampled_from(
        ("--max-total-tokens", "--max-input-length", "--max-batch-prefill-tokens", "--max-batch-total-tokens")
    ),
    st.one_of(st.integers(1, 300), st.integers(1, 300_000)),
    st.booleans(),
)
others = st.sampled_from(
    [("--eager-prefill=false",), ("--compile",), ("--eager",), ("--chunked-prefill", "true"), ("--quantize", "awq"),
     ("--adapter-memory-fraction", "0.2"), ("--preloaded-adapter-ids", "org/a")]
)  # fmt: skip


@st.composite
def custom_args(draw: st.DrawFn) -> list[str]:
    pieces = list(draw(st.lists(others, max_size=3, unique=True)))
    for flag, count, joined in draw(st.lists(counts, max_size=4, unique_by=lambda one: one[0])):
        pieces.append((f"{flag}={count}",) if joined else (flag, str(count)))
    return [word for piece in pieces for word in piece]


@given(st.sampled_from(MODELS), st.sampled_from(("", *QUANTIZATIONS)), slots, shapes, custom_args(), st.booleans())
def test_derived_arguments_agree(
    model: BaseModel, quantization: str, slot: Slot, data: DataShape, custom: list[str], release: bool
) -> None:
    try:
        check_custom_arguments(custom, model=model, quantization=quantization)
    except InvalidInputError:
        assume(False)
    config = ServerConfig(base_model=model.name, custom_args=custom, quantization=quantization)
    tag = "latest" if release else "main"
    launch = derive_launch(config, model, slot, data, default_tag=tag, hf_token=None)
    assert launch == derive_launch(config, model, slot, data, default_tag=tag, hf_token=None)

    # The launcher takes them: the same check that callers' own arguments go through.
    check_custom_arguments(launch.arguments, model=model, quantization=quantization)
    arguments, own = parse_arguments(launch.arguments), parse_arguments(custom)
    for argument in own:
        assert argument.words in [one.words for one in arguments if one.flag == argument.flag]

    total, longest = count_of(arguments, "--max-total-tokens"), count_of(arguments, "--max-input-length")
    prefill = count_of(arguments, "--max-batch-prefill-tokens")
    assert total is not None
    assert longest is not None
    assert prefill is not None
    assert 1 <= longest < total
    is_free = not any(argument.flag.startswith("--max-") for argument in own)
    if is_free:
        if model.context_length:
            assert total <= model.context_length
        assert longest + 50 <= prefill
        if "--adapter-memory-fraction" not in custom:
            _check_room(
                model,
                quantization or value_of(own, "--quantize") or "",
                slot,
                total,
                value_of(arguments, "--adapter-memory-fraction"),
            )
        margin = 1 if data.prompts_are_counted else 2
        wanted = margin * data.longest_prompt_tokens + data.largest_max_tokens
        if data.longest_prompt_tokens and total >= wanted + 256 and data.largest_max_tokens:
            assert margin * data.longest_prompt_tokens <= longest


def _check_room(model: BaseModel, quantization: str, slot: Slot, total: int, reserved: str | None) -> None:
    """Fail when the longest row has no room in the KV cache of a server that fits."""
    need = need_bytes(model, quantization)
    if not slot.memory_bytes or need is None or need > slot.memory_bytes:
        return
    fraction = 0.1 if reserved is None else float(reserved) / slot.gpu_share
    tokens = kv_tokens(
        slot.memory_bytes, weight_bytes(model, quantization), kv_bytes_per_token(model, quantization), fraction
    )
    assert tokens >= MIN_KV_TOKENS
    assert total <= tokens


estimated = st.builds(
    DataShape, longest_prompt_tokens=TOKENS, largest_max_tokens=TOKENS, adapters=st.integers(0, 10_000)
)


@given(st.sampled_from(MODELS), slots, estimated, estimated, st.lists(counts, max_size=2))
def test_a_server_that_is_started_for_several_jobs_has_room_for_each(
    model: BaseModel, slot: Slot, one: DataShape, other: DataShape, given_counts: list[tuple[str, int, bool]]
) -> None:
    """Else it would be replaced again and again."""
    custom = [f"{flag}={count}" for flag, count, _ in given_counts]
    try:
        check_custom_arguments(custom, model=model)
    except InvalidInputError:
        assume(False)
    config = ServerConfig(base_model=model.name, custom_args=custom)
    both = DataShape(
        longest_prompt_tokens=max(one.longest_prompt_tokens, other.longest_prompt_tokens),
        largest_max_tokens=max(one.largest_max_tokens, other.largest_max_tokens),
        adapters=one.adapters + other.adapters,
    )
    need = row_need(config, model, [slot], one)
    assert need is not None
    launch = derive_launch(config, model, slot, both, default_tag="main", hf_token=None)
    assert need.fits(*started_limits(launch.arguments))
