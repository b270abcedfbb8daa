"""`/info`, `/health`, `/startup`, `/metrics` and `/tokenize`."""

import msgspec

from lorax_simulator import errors, tokens
from lorax_simulator.bodies import TokenizeBody
from lorax_simulator.connection import Connection, Request
from lorax_simulator.decoding import decode
from lorax_simulator.errors import PlainTextError
from lorax_simulator.exchange import send_error
from lorax_simulator.generation import Generated, Reply, Wish
from lorax_simulator.server import Server
from lorax_simulator.validation import Parameters


def info(server: Server, _request: Request, connection: Connection) -> None:
    """Tell the model and the limits; final from the bind on."""
    identity, limits = server.options.identity, server.options.limits
    facts = {
        "model_id": identity.model_id,
        "model_sha": "0" * 40,
        "model_dtype": "torch.float16",
        "model_device_type": "cuda",
        "model_pipeline_tag": identity.pipeline_tag,
        "max_concurrent_requests": limits.max_concurrent_requests,
        "max_best_of": limits.max_best_of,
        "max_stop_sequences": limits.max_stop_sequences,
        "max_input_length": limits.max_input_length,
        "max_total_tokens": limits.max_total_tokens,
        "waiting_served_ratio": limits.waiting_served_ratio,
        "max_batch_total_tokens": limits.max_batch_total_tokens,
        "max_waiting_tokens": limits.max_waiting_tokens,
        "validation_workers": 2,
        "eager_prefill": limits.eager_prefill,
        "version": identity.router_version,
        "sha": None,
        "docker_label": identity.docker_label,
        "request_logger_url": None,
    }
    connection.answer(200, msgspec.json.encode(facts))


def health(server: Server, request: Request, connection: Connection) -> None:
    """Tell whether the shard answers; v0.12.1 generates a token through the queue instead."""
    if server.faults.fire("health-green"):
        connection.answer(200)
    elif server.faults.fire("health-overloaded"):
        send_error(connection, errors.health_overloaded())
    elif server.options.identity.is_main:

        def done(healthy: bool) -> None:
            if healthy:
                connection.answer(200)
            else:
                send_error(connection, errors.unhealthy())

        server.check_health(done)
    else:
        startup(server, request, connection)


def startup(server: Server, request: Request, connection: Connection) -> None:
    """Generate one token through the queue and the permits; without a permit 500."""
    wish = Wish(
        prompt="liveness",
        said="liveness",
        adapter_id="",
        adapter_source="hub",
        embeds=not server.options.identity.generates,
        parameters=Parameters(max_new_tokens=1),
    )
    server.probe(request, connection, wish, Reply(whole=_nothing, timing_headers=False))


def metrics(server: Server, request: Request, connection: Connection) -> None:
    """Show the counters: Prometheus text, or JSON when that is accepted."""
    if "application/json" in request.headers.get("accept", ""):
        connection.answer(200, msgspec.json.encode(server.metrics.as_json()))
    else:
        connection.answer(200, server.metrics.as_text().encode(), "text/plain; charset=utf-8")


def tokenize(server: Server, request: Request, connection: Connection) -> None:
    """Cut a text into tokens, without any template."""
    try:
        body = decode(request.headers.get("content-type", ""), request.body, TokenizeBody)
    except PlainTextError as error:
        send_error(connection, error)
        return
    listed = tokens.listing(body.inputs, add_special_tokens=body.add_special_tokens)
    connection.answer(200, msgspec.json.encode(listed))


def _nothing(_: list[Generated]) -> object:
    return None
