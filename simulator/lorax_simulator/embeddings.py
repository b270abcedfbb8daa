"""`POST /embed` and `/v1/embeddings`, for embedding models only, and the classifiers, for none here."""

from dataclasses import replace

from lorax_simulator import errors, shard_errors
from lorax_simulator.bodies import ClassifyBody, EmbedBody, NativeParameters, OpenAIEmbedBody
from lorax_simulator.chat import DEFAULT_SOURCE, adapter_of
from lorax_simulator.connection import Connection, Request
from lorax_simulator.decoding import decode
from lorax_simulator.generation import Generated, Reply, Wish
from lorax_simulator.native import merged_adapter_id, native_parameters
from lorax_simulator.server import Server

_DIMENSIONS = 8


def embed(server: Server, request: Request, connection: Connection) -> None:
    """Answer with the vector of one text."""

    def prepare() -> tuple[Wish, Reply]:
        body = decode(request.headers.get("content-type", ""), request.body, EmbedBody)
        _need_embedding_model(server)
        wish = _wish(body.inputs, merged_adapter_id(body.parameters), body.parameters)
        return wish, Reply(whole=lambda made: {"embeddings": vector(made[0])}, timing_headers=False)

    server.generate(request, connection, prepare)


def openai_embed(server: Server, request: Request, connection: Connection) -> None:
    """Answer with OpenAI's list of one embedding."""

    def prepare() -> tuple[Wish, Reply]:
        body = decode(request.headers.get("content-type", ""), request.body, OpenAIEmbedBody)
        _need_embedding_model(server)

        def whole(made: list[Generated]) -> object:
            used = {"prompt_tokens": made[0].prompt_tokens, "total_tokens": made[0].prompt_tokens}
            item = {"object": "embedding", "embedding": vector(made[0]), "index": 0}
            model_id = server.options.identity.model_id
            return {"object": "list", "data": [item], "model": model_id, "usage": used}

        wish = _wish(body.input, adapter_of(body.model, server), NativeParameters())
        return wish, Reply(whole=whole, timing_headers=False)

    server.generate(request, connection, prepare)


def classify(server: Server, request: Request, connection: Connection) -> None:
    """Fail: no simulated model classifies."""

    def prepare() -> tuple[Wish, Reply]:
        decode(request.headers.get("content-type", ""), request.body, ClassifyBody)
        raise errors.generation_failed(shard_errors.unsupported_task("classification"))

    server.generate(request, connection, prepare)


def vector(generated: Generated) -> list[float]:
    """Return a vector that depends on the row alone."""
    digits = bytes.fromhex(generated.digest)
    return [round(digit / 127.5 - 1, 6) for digit in digits[:_DIMENSIONS]]


def _need_embedding_model(server: Server) -> None:
    if server.options.identity.generates:
        raise errors.generation_failed(shard_errors.unsupported_task("embeddings"))


def _wish(text: str, adapter_id: str, parameters: NativeParameters) -> Wish:
    return Wish(
        prompt=text,
        said=text,
        adapter_id=adapter_id,
        adapter_source=parameters.adapter_source or DEFAULT_SOURCE,
        embeds=True,
        parameters=replace(native_parameters(parameters), max_new_tokens=1, best_of=None),
    )
