"""Whether a server runs what it was started for."""

import pytest
from lorax_batch_scheduler.launching.model_match import mismatch_reason, model_matches

from tests.unit.launching.examples import MISTRAL, UNLISTED


@pytest.mark.parametrize(
    "reported",
    [
        "mistralai/Mistral-7B-Instruct-v0.2",
        "mistralai/mistral-7b-instruct-v0.2",
        " mistralai/Mistral-7B-Instruct-v0.2 ",
        "mistral-7b-instruct-v0-2",
        "predibase/Mistral-7B-Instruct-v0.2-dequantized",
        "mistralai/Mistral-7B-Instruct-v0.2@26bca36b",
        "mistralai/Mistral-7B-Instruct-v0.2@refs/pr/2",
        "/data/models--mistralai--Mistral-7B-Instruct-v0.2/snapshots/26bca36bde8333b5d7f72e9ed20ccda6a618af24",
        "/models/Mistral-7B-Instruct-v0.2/",
    ],
)
def test_all_names_of_a_model_match(reported: str) -> None:
    assert model_matches(MISTRAL, reported)
    assert mismatch_reason(MISTRAL, reported) == ""


@pytest.mark.parametrize(
    "reported",
    ["", "@", "@main", "gpt2", "mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.1",
     "other/Mistral-7B-Instruct-v0.2", "/models/Mistral-7B-v0.1"],
)  # fmt: skip
def test_other_models_do_not(reported: str) -> None:
    assert not model_matches(MISTRAL, reported)


def test_a_mismatch_is_told_with_both_names() -> None:
    told = mismatch_reason(MISTRAL, "gpt2")
    assert told.startswith(
        "was started for mistral-7b-instruct-v0-2 (mistralai/Mistral-7B-Instruct-v0.2), but reports the model 'gpt2': "
    )
    assert "reports no model" in mismatch_reason(UNLISTED, "")
    assert model_matches(UNLISTED, "acme/new-model@v1")
