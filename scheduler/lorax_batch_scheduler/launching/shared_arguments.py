"""Which of the launcher's arguments a tenant may give who shares the machines with others."""

from collections.abc import Sequence
from typing import Final

from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES, LOCAL_SOURCE, is_path
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.launching.custom_arguments import (
    BOOLEANS,
    COUNTS,
    FRACTIONS,
    MODEL_ID,
    REPEATABLE,
    LauncherArgument,
    parse_arguments,
)

_OTHERS: Final = (
    "adapter-cycle-time-s", "adapter-source", "backend", "compile", "default-adapter-source", "disable-custom-kernels",
    "disable-sgmv", "dtype", "eager", "kv-cache-dtype", "max-best-of", "max-stop-sequences", "max-waiting-tokens",
    "preloaded-adapter-ids", "preloaded-adapter-source", "quantize", "rope-factor", "rope-scaling",
    "speculative-tokens", "waiting-served-ratio", "watermark-delta", "watermark-gamma",
)  # fmt: skip
_SOURCES: Final = frozenset(("--adapter-source", "--default-adapter-source", "--preloaded-adapter-source"))
_PRELOADED: Final = "--preloaded-adapter-ids"
_CORS: Final = frozenset(flag for flag in REPEATABLE if flag.startswith("--cors-"))
FOR_TENANTS: Final = (
    COUNTS | FRACTIONS | BOOLEANS | REPEATABLE | {MODEL_ID} | {f"--{name}" for name in _OTHERS}
) - _CORS
"""They say how rows are computed. Others choose code that is run (`--trust-remote-code`, and `--revision`: anybody can
propose one to a public model), files of the machine, or places that what happens is told to (`--otlp-endpoint`)."""


def check_shared_arguments(words: Sequence[str], *, adapter_sources: Sequence[str] = ADAPTER_SOURCES) -> None:
    """Check that arguments, which `check_custom_arguments` has found good, reach no further than the server's work.

    `adapter_sources`: where it may have adapters from.

    Raises:
        InvalidInputError: with the path of the word at fault.
    """
    for argument in parse_arguments(words):
        if argument.flag not in FOR_TENANTS:
            raise InvalidInputError(
                f"server_config.custom_args[{argument.index}]",
                f"'{argument.flag}' may reach beyond the rows of its server: leave it out, or ask an operator, whose "
                "key may use it, to make the job",
            )
        _check_adapters(argument, adapter_sources)


def _check_adapters(argument: LauncherArgument, allowed: Sequence[str]) -> None:
    """Check what rows are checked for as well: the sources, and that no adapter is a path."""
    field, value = f"server_config.custom_args[{argument.index}]", argument.value or ""
    if argument.flag in _SOURCES and value not in allowed:
        raise InvalidInputError(
            field,
            f"'{argument.flag} {value}': this service allows adapters from {', '.join(allowed)} alone (its "
            "adapter_sources): name one of them",
        )
    if argument.flag == _PRELOADED and LOCAL_SOURCE not in allowed and any(map(is_path, value.split(","))):
        raise InvalidInputError(
            field,
            f"'{argument.flag} {value}': a path on the server, which this service does not allow (its "
            "adapter_sources have no local): give the ids of adapters",
        )
