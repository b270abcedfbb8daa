"""Native rows are what `lorax-client` says they are: its types are the reference for `/generate`."""

import json

import pytest
from lorax.errors import ValidationError
from lorax.types import MergedAdapters, Parameters, Request
from lorax_batch_scheduler.chunk import GENERATE
from lorax_batch_scheduler.ingest import generate
from lorax_batch_scheduler.ingest.line import BadLine

from tests.unit.ingest.lines_of import line_of, read, sent, valid

TAKEN_APART = {"adapter_id", "adapter_source", "max_new_tokens"}
"""What a chunk keeps beside its rows; see `chunk.py`."""


def test_every_parameter_of_the_client_is_known_and_no_other() -> None:
    assert set(generate.PARAMETERS) | TAKEN_APART >= set(Parameters.model_fields)
    # The server's own, newer than the client.
    assert set(generate.PARAMETERS) - set(Parameters.model_fields) == {"frequency_penalty", "presence_penalty"}
    assert set(Request.model_fields) == {*generate.FIELDS, "parameters"}


@pytest.mark.parametrize("strategy", ["linear", "ties", "dare_linear", "dare_ties", "magic"])
def test_merge_strategies_are_the_clients(strategy: str) -> None:
    merged = {"ids": ["a", "b"], "weights": [0.5, 0.5], "density": 0.5, "merge_strategy": strategy}
    merged["majority_sign_method"] = "total"
    try:
        MergedAdapters(**merged)
        known = True
    except ValidationError:
        known = False
    body = {"inputs": "Hi", "parameters": {"merged_adapters": merged}}
    assert isinstance(read(line_of(body, GENERATE)), BadLine) is not known


def test_a_normalised_request_is_one_that_the_client_could_have_sent() -> None:
    body = {"inputs": "Hi", "parameters": {"max_new_tokens": 5, "stop": ["x"], "top_k": 3, "adapter_id": "org/a"}}
    request = sent(valid(body, GENERATE))
    assert Request(**json.loads(json.dumps(request))).parameters.adapter_id == "org/a"
