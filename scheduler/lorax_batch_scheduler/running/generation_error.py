"""Reading a 424 of LoRAX, whose text alone says what went wrong.

The text is what the shard raised. Adapter trouble, a row that broke the whole batch, exhausted memory and a dead shard
all look the same but for it. Rules are tried in order; the first that matches decides.
"""

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """What a failed generation comes from."""

    ADAPTER_BAD = "ADAPTER_BAD"
    """The adapter can't be used with this base model or can't be had at all, on any server."""
    ADAPTER_REFUSED = "ADAPTER_REFUSED"
    """This server runs without dynamic adapters; another may take it."""
    ADAPTER_UNREACHABLE = "ADAPTER_UNREACHABLE"
    """Its download failed for now."""
    WRONG_KIND = "WRONG_KIND"
    """The model does not do what the endpoint asks."""
    NO_STRUCTURED_OUTPUT = "NO_STRUCTURED_OUTPUT"
    """The server can't constrain output."""
    SCHEMA = "SCHEMA"
    """The JSON schema of some row in the batch did not compile; not necessarily this row's."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    SHARD_BROKEN = "SHARD_BROKEN"
    """Its state is damaged; it may need a restart."""
    SHARD_DIED = "SHARD_DIED"
    """The whole server is about to exit."""
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Rule:
    """A cause, its row error code, and the texts that tell it (lower case); `also` must be there too."""

    cause: Cause
    code: str
    texts: tuple[str, ...]
    also: str = ""


RULES: tuple[Rule, ...] = (
    Rule(Cause.SHARD_DIED, "server_died",
         ("transport error", "error trying to connect", "broken pipe", "could not connect to lorax server")),
    Rule(Cause.OUT_OF_MEMORY, "out_of_memory", ("out of memory", "not enough memory")),
    Rule(Cause.SHARD_BROKEN, "server_broken", ("not found in cache", "device-side assert", "cuda error")),
    Rule(Cause.SCHEMA, "invalid_schema",
         ("could not translate the instance", "is not supported by outlines", "does not exist within",
          "maximum recursion depth", "unsupported data type in")),
    Rule(Cause.NO_STRUCTURED_OUTPUT, "structured_output_unsupported", ("`outlines` is not installed",)),
    Rule(Cause.WRONG_KIND, "endpoint_unsupported",
         ("does not support text generation", "does not support embeddings", "does not support classification")),
    Rule(Cause.ADAPTER_REFUSED, "adapter_loading_disabled",
         ("memory reserved for adapters is 0", "does not support dynamic adapter loading")),
    Rule(Cause.ADAPTER_BAD, "adapter_unsupported", ("does not support adapter loading",)),
    Rule(Cause.ADAPTER_BAD, "adapter_incompatible", ("is not compatible with model", "architectures differ")),
    Rule(Cause.ADAPTER_BAD, "adapter_too_large", ("is larger than adapter memory reservation",)),
    Rule(Cause.ADAPTER_BAD, "adapter_invalid",
         ("no valid adapter config file found", "weights found for model", "no local weights found", "invalid source",
          "is too short for prefix filtering", "invalid model_id", "multiple models found")),
    Rule(Cause.ADAPTER_BAD, "adapter_not_ready",
         ("is not ready for use. current status", "is not yet available")),
    # The hub answers 401 for what does not exist, and adds that it may be gated: the words of its name come first.
    Rule(Cause.ADAPTER_BAD, "adapter_not_found", ("repository not found",)),
    Rule(Cause.ADAPTER_BAD, "adapter_forbidden",
         ("401 client error", "403 client error", " gated", "gatedrepo")),
    Rule(Cause.ADAPTER_BAD, "adapter_not_found", ("404 client error",)),
    Rule(Cause.ADAPTER_BAD, "adapter_not_found", ("client error",), also="pbase"),
    Rule(Cause.ADAPTER_UNREACHABLE, "adapter_download_failed",
         ("500 server error", "502 server error", "503 server error", "504 server error", "read timed out",
          "connection")),
)  # fmt: skip
UNKNOWN = Rule(Cause.UNKNOWN, "generation_error", ())

ADAPTER_CAUSES = frozenset({Cause.ADAPTER_BAD, Cause.ADAPTER_REFUSED, Cause.ADAPTER_UNREACHABLE})


def read_generation_error(message: str, *, adapter: str) -> Rule:
    """Return the rule that fits the text of a 424 for a row of that adapter; "" is the base model."""
    text = message.lower()
    for rule in RULES:
        if rule.cause in ADAPTER_CAUSES and not adapter:
            continue  # a row of the base model never waits for a download
        if any(part in text for part in rule.texts) and rule.also in text:
            return rule
    return UNKNOWN
