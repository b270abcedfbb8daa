"""From what jobs ask for to the arguments of a LoRAX launcher that suit batch work. Pure and deterministic."""

import re
from collections.abc import Sequence
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.launching.adapter_memory import adapter_memory_fraction
from lorax_batch_scheduler.launching.custom_arguments import (
    EXCLUSIVE,
    MODEL_ID,
    LauncherArgument,
    parse_arguments,
    value_of,
)
from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.launching.token_limits import token_limits
from lorax_batch_scheduler.server_config import ServerConfig

CONCURRENT_REQUESTS: Final = 1_024
"""Rows in flight and queued. A runner sends nine tenths of it at most, and a decode step over so many rows costs hardly
more than its rows: more in flight would only wait inside the server."""

_RELEASE: Final = re.compile(r"v?([0-9]+)\.([0-9]+)(\.[0-9]+)?")
_LAST_RELEASE: Final = (0, 12)


def derive_launch(
    config: ServerConfig, model: BaseModel, slot: Slot, data: DataShape, *, default_tag: str, hf_token: str | None
) -> Launch:
    """Return what to start a server of a configuration with on a slot, so that it suits the data.

    The caller's own arguments win over derived ones of the same flag, and derived ones are reckoned around them.

    Raises:
        InvalidInputError: an argument of the caller's can't be read; `check_server_config` tells so before.
    """
    custom = [one for one in parse_arguments(config.custom_args) if one.flag != MODEL_ID]
    tag = config.lorax_image_tag or default_tag
    derived = _derived(config, model, slot, data, custom, is_release=is_release(tag))
    return Launch(
        family=config.family(model.name),
        base_model_id=model.name,
        model=model.hf_id,
        image_tag=tag,
        arguments=merged(derived, custom),
        hf_token=hf_token or None,
        config=config,
    )


def quantization_of(config: ServerConfig) -> str:
    """Return the quantization of a configuration, wherever it says so; "" for none."""
    return config.quantization or value_of(parse_arguments(config.custom_args), "--quantize") or ""


def is_release(tag: str) -> bool:
    """Tell whether an image is of the last release (0.12) or before; all others count as the main branch."""
    matched = _RELEASE.fullmatch(tag)
    return tag == "latest" or (matched is not None and (int(matched[1]), int(matched[2])) <= _LAST_RELEASE)


def merged(derived: Sequence[LauncherArgument], custom: Sequence[LauncherArgument]) -> tuple[str, ...]:
    """Return the words of both, without the derived ones that the caller's replace or exclude."""
    taken = {argument.flag for argument in custom}
    excluded = {other for pair in EXCLUSIVE for one, other in (pair, pair[::-1]) if one in taken}
    kept = [argument for argument in derived if argument.flag not in taken | excluded]
    return tuple(word for argument in (*kept, *custom) for word in argument.words)


def _derived(
    config: ServerConfig,
    model: BaseModel,
    slot: Slot,
    data: DataShape,
    custom: Sequence[LauncherArgument],
    *,
    is_release: bool,
) -> list[LauncherArgument]:
    quantization = quantization_of(config)
    fraction = adapter_memory_fraction(model, quantization, slot, data, custom)
    limits = token_limits(model, quantization, slot, data, custom, adapter_memory=fraction)
    pairs: list[tuple[str, str | None]] = [
        ("--eager-prefill", "true"),
        ("--max-concurrent-requests", str(CONCURRENT_REQUESTS)),
        ("--max-total-tokens", str(limits.total)),
        ("--max-input-length", str(limits.input)),
        ("--max-batch-prefill-tokens", str(limits.prefill)),
    ]
    if fraction is not None:
        pairs.append(("--adapter-memory-fraction", f"{fraction:.4f}"))
    told = (
        ("--quantize", config.quantization),
        ("--backend", config.backend),
        ("--adapter-source", config.adapter_source),
    )
    pairs += [pair for pair in told if pair[1]]
    if is_release:
        # The main branch makes CUDA graphs unless it is told not to; the release when it is told to.
        pairs.append(("--compile", None))
    return [LauncherArgument(flag=flag, value=value) for flag, value in pairs]
