"""What a LoRAX server must be started with; jobs with the same configuration can share servers."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from lorax_batch_scheduler.adapter_source import ADAPTER_SOURCES
from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.launching.custom_arguments import check_custom_arguments

QUANTIZATIONS: Final = (
    "awq", "eetq", "exl2", "gptq", "bitsandbytes", "bitsandbytes-nf4", "bitsandbytes-fp4", "fp8", "fp8-kv",
    "hqq-4bit", "hqq-3bit", "hqq-2bit",
)  # fmt: skip
BACKENDS: Final = ("fa2", "flashinfer")
MAX_CUSTOM_ARGS: Final = 100
MAX_TEXT_CHARACTERS: Final = 500
MAX_TAG_CHARACTERS: Final = 128
"""Of an image's tag, as registries have it."""
_TAG: Final = re.compile(r"\w[\w.-]*", re.ASCII)


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The configuration without the token, which is a secret and lives elsewhere."""

    base_model: str
    """As the caller wrote it: a name or alias of the catalogue."""
    lorax_image_tag: str = ""
    quantization: str = ""
    custom_args: list[str] = []
    backend: str = ""
    adapter_source: str = ""

    def family(self, base_model_id: str) -> str:
        """Return the hash that jobs share whose rows can run side by side on one server.

        The adapter source is not part of it: it travels with each row.
        """
        parts = [base_model_id, self.lorax_image_tag, self.quantization, self.backend, *self.custom_args]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def check_server_config(config: ServerConfig, model: BaseModel | None = None) -> None:
    """Check all fields but the base model, which the catalogue checks (None: it knows none of that name).

    Raises:
        InvalidInputError: with the path of the field.
    """
    _one_of("server_config.quantization", config.quantization, QUANTIZATIONS)
    _one_of("server_config.backend", config.backend, BACKENDS)
    _one_of("server_config.adapter_source", config.adapter_source, ADAPTER_SOURCES)
    if len(config.custom_args) > MAX_CUSTOM_ARGS:
        raise InvalidInputError(
            "server_config.custom_args",
            f"{len(config.custom_args)} arguments, but at most {MAX_CUSTOM_ARGS} are accepted",
        )
    for index, text in enumerate(config.custom_args):
        if len(text) > MAX_TEXT_CHARACTERS or not text.isprintable():
            raise InvalidInputError(
                f"server_config.custom_args[{index}]",
                f"has {len(text)} characters, but must be at most {MAX_TEXT_CHARACTERS} that are printable",
            )
    _check_tag(config.lorax_image_tag)
    check_custom_arguments(config.custom_args, model=model, quantization=config.quantization, backend=config.backend)


def check_adapter_source(config: ServerConfig, allowed: Sequence[str]) -> None:
    """Check that a configuration's rows have adapters from where the service allows it. Raises `InvalidInputError`."""
    if config.adapter_source and config.adapter_source not in allowed:
        raise InvalidInputError(
            "server_config.adapter_source",
            f"'{config.adapter_source}': this service allows {', '.join(allowed)} alone (its adapter_sources)",
        )


def _check_tag(tag: str) -> None:
    """A tag stands in the command that starts a server."""
    field = "server_config.lorax_image_tag"
    if len(tag) > MAX_TAG_CHARACTERS:
        raise InvalidInputError(field, f"has {len(tag)} characters, but a tag has at most {MAX_TAG_CHARACTERS}")
    if tag and not _TAG.fullmatch(tag):
        raise InvalidInputError(field, f"{tag!r} is no image tag: it is made of letters, digits, '_', '.' and '-'")


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value and value not in allowed:
        raise InvalidInputError(field, f"'{value}' is not one of {', '.join(allowed)}; leave it unset for none")
