"""`/v1/embeddings`."""

from typing import Final

from lorax_batch_scheduler.chunk import EMBEDDINGS
from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.limits import MAX_EMBEDDING_INPUTS, IngestLimits
from lorax_batch_scheduler.ingest.request import UNUSED as UNUSED_EVERYWHERE
from lorax_batch_scheduler.ingest.request import Row, body_tail, take_adapter_source, take_model, token_estimate
from lorax_batch_scheduler.ingest.rules import Rule, apply_rules, need, non_empty_text, refused


def _input(value: object, param: str) -> object:
    if not isinstance(value, list):
        return non_empty_text(value, param)
    if not value or len(value) > MAX_EMBEDDING_INPUTS:
        message = f"'{param}' has {len(value)} entries, but must have from 1 to {MAX_EMBEDDING_INPUTS}: split the row"
        raise InvalidRowError(Code.INVALID_VALUE, param, message)
    if not isinstance(value[0], str):
        message = f"'{param}' is {shown(value)}, but LoRAX embeds text only: send the text instead of its tokens"
        raise InvalidRowError(Code.UNSUPPORTED_VALUE, param, message)
    texts = [non_empty_text(item, f"{param}[{index}]") for index, item in enumerate(value)]
    return texts[0] if len(texts) == 1 else texts


FIELDS: Final[dict[str, Rule]] = {
    "input": _input,
    **UNUSED_EVERYWHERE,
    "encoding_format": refused("it answers with floats only; leave it out", "float"),
    "dimensions": refused("an embedding has the size that the model gives it; leave it out"),
}


def normalise(body: dict[str, object], limits: IngestLimits) -> Row:
    """Check the body of an embedding. Raises `InvalidRowError`."""
    given = dict(body)
    model = take_model(need(given, "model", "body", ': use "" for the base model'), "body.model", limits)
    del given["model"]
    source = take_adapter_source(given, "body", limits)
    need(given, "input", "body")
    fields = apply_rules(FIELDS, given, "body")
    texts = fields["input"]
    characters = sum(map(len, texts)) if isinstance(texts, list) else len(str(texts))
    return Row((EMBEDDINGS, model, source), body_tail(fields), token_estimate(characters), 0)
