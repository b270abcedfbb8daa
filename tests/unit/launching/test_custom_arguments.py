"""What callers may not ask of the launcher, and how they are told."""

import pytest
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.launching.shared_arguments import check_shared_arguments
from lorax_batch_scheduler.server_config import ServerConfig, check_server_config

from tests.unit.launching.examples import MISTRAL


def check(*custom: str, quantization: str = "", backend: str = "") -> None:
    config = ServerConfig(base_model=MISTRAL.name, custom_args=list(custom), quantization=quantization, backend=backend)
    check_server_config(config, MISTRAL)


@pytest.mark.parametrize(
    "custom",
    [
        [],
        ["--eager-prefill", "true", "--compile", "--max-total-tokens=8192", "--dtype", "bfloat16"],
        ["--model-id", "mistralai/Mistral-7B-Instruct-v0.2"],
        ["--model-id=mistral-7b-instruct-v0-2"],
        ["--preloaded-adapter-ids", "a", "--preloaded-adapter-ids", "b"],
        ["--max-input-length", "9000", "--max-batch-prefill-tokens", "4096", "--chunked-prefill", "true"],
        ["--max-batch-total-tokens", "8000", "--max-total-tokens", "8000", "--max-input-length", "7999"],
        ["--tokenizer-config-path", "/data/a path.json", "--something-new"],
    ],
)
def test_what_the_launcher_takes_is_accepted(custom: list[str]) -> None:
    check(*custom)


@pytest.mark.parametrize(
    ("custom", "index", "message"),
    [
        (["--port", "80"], 0, "may not be set: the service gives each of its servers an address"),
        (["--compile", "--hostname=::"], 1, "'--hostname' may not be set"),
        (["--master-port", "1"], 0, "may not be set"),
        (["--download-only"], 0, "would end at once"),
        (["--model-id", "gpt2"], 0, "contradicts the base model 'mistral-7b-instruct-v0-2': leave it out"),
        (["--max-best-of", "2", "--model-id=mistralai/Mistral-7B-Instruct-v0.2@abc"], 2, "goes into --revision"),
        (["eager"], 0, "'eager' belongs to no flag: write '--flag'"),
        (["--compile", "true"], 1, "'true' belongs to no flag: '--compile' takes no value"),
        (["--compile=true"], 0, "takes no value"),
        (["--max-total-tokens"], 0, "has no value"),
        (["--eager-prefill"], 0, "has no value"),
        (["--eager-prefill", "yes"], 0, "must be true or false, not 'yes'"),
        (["-p", "80"], 0, "is a short flag"),
        (["--max_total_tokens=3"], 0, "did you mean '--max-total-tokens'"),
        (["--"], 0, "is not a flag of the launcher"),
        (["--max-total-tokens", "many"], 0, "whole number between 1 and 2,147,483,647, not 'many'"),
        (["--max-total-tokens", "-1"], 0, "not '-1'"),
        (["--max-total-tokens", "1"], 0, "must be at least 2"),
        (["--max-total-tokens", "9" * 400], 0, "whole number"),
        (["--adapter-memory-fraction", "1.5"], 0, "between 0 and 1, not '1.5'"),
        (["--memory-wiggle-room", "nan"], 0, "between 0 and 1"),
        (["--cuda-memory-fraction", "1"], 0, "keeps each server to its share"),
        (["--revision", "a", "--revision=b"], 2, "given twice"),
        (["--predibase-api-token", "t"], 0, "give tokens as the job's own"),
        (["--compile", "--eager"], 1, "can't be used with"),
        (["--dtype", "float16", "--quantize", "awq"], 2, "can't be used with"),
        (["--max-total-tokens", "100", "--max-input-length", "100"], 2, "must be less than '--max-total-tokens 100'"),
        (["--max-total-tokens=9", "--max-batch-total-tokens=8"], 0, "must be at most '--max-batch-total-tokens 8'"),
        (["--max-input-length=9", "--max-batch-prefill-tokens=8"], 0, "must be at most"),
    ],
)
def test_what_it_does_not_take_is_told_with_its_place(custom: list[str], index: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match="custom_args") as told:
        check(*custom)
    assert told.value.field == f"server_config.custom_args[{index}]"
    assert message in told.value.message


def test_what_is_said_twice_must_be_the_same() -> None:
    check("--quantize", "awq", "--backend=fa2", quantization="awq", backend="fa2")
    with pytest.raises(InvalidInputError, match=r"contradicts server_config\.quantization 'eetq'"):
        check("--quantize", "awq", quantization="eetq")
    with pytest.raises(InvalidInputError, match=r"contradicts server_config\.backend 'fa2'"):
        check("--backend", "flashinfer", backend="fa2")
    with pytest.raises(InvalidInputError, match="can't be used with the quantization 'awq'"):
        check("--dtype", "float16", quantization="awq")


@pytest.mark.parametrize("tag", ["main", "0.12.1", "07addea", "_x", "t" * 128])
def test_image_tags_are_accepted(tag: str) -> None:
    check_server_config(ServerConfig(base_model=MISTRAL.name, lorax_image_tag=tag), MISTRAL)


@pytest.mark.parametrize("tag", ["../other", "latest@sha256:0", "a b", "$(id)", "main;id", "-x", "t" * 129, "ä"])
def test_what_is_no_image_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidInputError) as told:
        check_server_config(ServerConfig(base_model=MISTRAL.name, lorax_image_tag=tag), MISTRAL)
    assert told.value.field == "server_config.lorax_image_tag"


def test_tenants_say_how_rows_are_computed() -> None:
    check_shared_arguments(
        ["--max-total-tokens=8192", "--eager-prefill", "true", "--dtype", "bfloat16", "--compile", "--num-shard", "1"]
    )


@pytest.mark.parametrize(
    "flag",
    ["--trust-remote-code", "--revision", "--otlp-endpoint", "--tokenizer-config-path", "--weights-cache-override",
     "--ngrok", "--env", "--cors-allow-origin", "--something-new"],
)  # fmt: skip
def test_what_reaches_further_is_for_operators(flag: str) -> None:
    with pytest.raises(InvalidInputError) as told:
        check_shared_arguments(["--compile", f"{flag}"])
    assert told.value.field == "server_config.custom_args[1]"
    assert f"'{flag}' may reach beyond" in told.value.message


@pytest.mark.parametrize(
    "custom",
    [
        ["--adapter-source", "local"],
        ["--default-adapter-source=s3"],
        ["--preloaded-adapter-source", "pbase"],
        ["--preloaded-adapter-ids", "org/one", "--preloaded-adapter-ids=/data/two"],
        ["--preloaded-adapter-ids", "org/one,../two"],
    ],
)
def test_tenants_have_adapters_from_where_rows_may_have_them(custom: list[str]) -> None:
    check_shared_arguments(custom)
    with pytest.raises(InvalidInputError, match="adapter_sources") as told:
        check_shared_arguments(custom, adapter_sources=("hub",))
    assert told.value.field == f"server_config.custom_args[{2 if len(custom) == 3 else 0}]"
