"""Which server a name means, and what is known of its configuration."""

import dataclasses

import pytest
from lorax_batch_client.deployment import configuration_of, find_server
from lorax_batch_client.errors import AmbiguousError, FailedPreconditionError, NotFoundError
from lorax_batch_client.fleet import Server, ServerState
from lorax_batch_client.predibase import BatchInferenceServerConfig
from lorax_batch_client.server_config import ServerConfig

STATIC = Server(
    server_id="slot_a",
    slot_id="slot_a",
    url="http://a",
    state=ServerState.READY,
    reason="",
    model_id="mistralai/Mistral-7B-v0.1",
    base_model_id="mistral-7b",
    max_concurrent_requests=128,
    max_total_tokens=4_096,
    max_input_length=4_095,
    max_batch_total_tokens=350_000,
    in_flight=0,
    in_flight_limit=32,
    rows_per_second=0.0,
    tokens_per_second=0.0,
    warm_adapters=(),
    row_latency=None,
    ready_time=None,
    update_time=None,
    version="0.1.0",
)
CONFIG = ServerConfig(base_model="mistral-7b", quantization="awq", custom_args=("--eager",), adapter_source="s3")
STARTED = dataclasses.replace(
    STATIC, server_id="server_b", slot_id="gpu-0", server_config=CONFIG, launch_arguments=("--quantize", "awq")
)
ALIKE = dataclasses.replace(STARTED, server_id="server_c", slot_id="gpu-1")
SILENT = dataclasses.replace(
    STATIC, server_id="slot_d", slot_id="slot_d", state=ServerState.UNREACHABLE, reason="refused", model_id="",
    base_model_id="",
)  # fmt: skip


@pytest.mark.parametrize(
    ("ref", "found"),
    [("server_b", STARTED), ("gpu-1", ALIKE), ("slot_a", STATIC), ("slot_d", SILENT)],
)
def test_a_server_is_found_by_its_id_and_its_slot(ref: str, found: Server) -> None:
    assert find_server([STATIC, STARTED, ALIKE, SILENT], ref) is found


@pytest.mark.parametrize("name", ["mistral-7b", "Mistral-7B", "mistralai/Mistral-7B-v0.1"])
def test_a_server_is_found_by_its_model(name: str) -> None:
    assert find_server([ALIKE, STARTED, SILENT], name) is STARTED, "alike servers are one configuration"


def test_servers_that_differ_are_listed() -> None:
    with pytest.raises(AmbiguousError) as told:
        find_server([STARTED, STATIC, SILENT], "mistral-7b")
    assert str(told.value) == (
        "'mistral-7b' means 2 servers that differ: name one of server_b on slot gpu-0: mistral-7b (ready, awq, "
        "--eager); slot_a: mistral-7b (ready) by its id"
    )


def test_where_none_is_meant_all_are_listed() -> None:
    with pytest.raises(NotFoundError) as told:
        find_server([SILENT, STATIC], "llama")
    assert str(told.value) == (
        "no server has the id, the slot or the base model 'llama': there are slot_a: mistral-7b (ready); "
        "slot_d: no model yet (unreachable)"
    )
    with pytest.raises(NotFoundError, match="the fleet has no servers now"):
        find_server([], "llama")


def test_a_silent_server_has_no_configuration() -> None:
    with pytest.raises(FailedPreconditionError, match=r"has not told its model yet \(refused\): try again"):
        configuration_of(SILENT)


def test_a_config_is_taken_from_a_server_that_was_started() -> None:
    config = BatchInferenceServerConfig.from_deployment(STARTED)
    assert config.to_server_config() == CONFIG
    assert config.hf_token is None


def test_of_a_server_that_was_not_started_the_model_is_known() -> None:
    config = BatchInferenceServerConfig.from_deployment(STATIC)
    assert config == BatchInferenceServerConfig(base_model="mistral-7b")


def test_a_name_needs_a_client() -> None:
    with pytest.raises(TypeError, match="'mistral-7b' is a name: give the `client` too"):
        BatchInferenceServerConfig.from_deployment("mistral-7b")
