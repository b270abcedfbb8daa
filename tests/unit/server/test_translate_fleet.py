"""What a server was started with, on its way from the scheduler over the store and the wire to a caller."""

from datetime import UTC, datetime

import msgspec
from lorax_batch.v1 import fleet_pb2
from lorax_batch_client.fleet import Server
from lorax_batch_client.predibase import BatchInferenceServerConfig
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_server.translate_fleet import server_message

CONFIG = ServerConfig(
    base_model="mistral-7b",
    lorax_image_tag="main",
    quantization="awq",
    custom_args=["--max-total-tokens", "8192"],
    backend="flashinfer",
    adapter_source="s3",
)


def received(config: ServerConfig | None, *arguments: str) -> Server:
    """Return the server that a caller gets to see."""
    status = ServerStatus(
        server_id="server_1",
        slot=Slot(slot_id="gpu-0", kind="command"),
        url="http://localhost:8000",
        state=ServerState.READY,
        reason="",
        limits=None,
        base_model_id="mistral-7b",
        in_flight=0,
        in_flight_limit=0,
        rows_per_second=0.0,
        tokens_per_second=0.0,
        warm_adapters=[],
        row_latency_s=None,
        ready_time=None,
        update_time=datetime(2026, 1, 2, tzinfo=UTC),
        config=config,
        launch_arguments=arguments,
    )
    stored = msgspec.convert(msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(status))), ServerStatus)
    assert stored == status
    return Server.from_proto(fleet_pb2.Server.FromString(server_message(stored).SerializeToString()))


def test_a_started_server_gives_the_configuration_for_another_job() -> None:
    server = received(CONFIG, "--eager-prefill", "true")
    assert server.launch_arguments == ("--eager-prefill", "true")
    assert BatchInferenceServerConfig.from_deployment(server) == BatchInferenceServerConfig(
        base_model="mistral-7b",
        lorax_image_tag="main",
        quantization="awq",
        custom_args=["--max-total-tokens", "8192"],
        backend="flashinfer",
        adapter_source="s3",  # type: ignore[call-arg]  # kept, as any key that the hosted service does not know
    )


def test_a_server_that_was_not_started_has_none() -> None:
    server = received(None)
    assert (server.server_config, server.launch_arguments) == (None, ())
