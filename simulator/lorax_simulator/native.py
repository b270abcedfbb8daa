"""LoRAX's own generate: `POST /generate`, `/generate_stream`, `/` and `/invocations`."""

from lorax_simulator import tokens
from lorax_simulator.bodies import NativeBody, NativeParameters
from lorax_simulator.chat import DEFAULT_SOURCE
from lorax_simulator.connection import Connection, Request
from lorax_simulator.decoding import decode
from lorax_simulator.generation import Generated, Reply, Wish
from lorax_simulator.server import Server
from lorax_simulator.validation import Parameters

_TOKEN_LOGPROB = -0.25


def generate(server: Server, request: Request, connection: Connection) -> None:
    """Answer with one object."""
    _serve(server, request, connection, streams=False, as_list=False)


def generate_stream(server: Server, request: Request, connection: Connection) -> None:
    """Answer with one event a token."""
    _serve(server, request, connection, streams=True, as_list=False)


def compatible_generate(server: Server, request: Request, connection: Connection) -> None:
    """Answer with a list of one object, or with events when the body has `stream`."""
    _serve(server, request, connection, streams=None, as_list=True)


def merged_adapter_id(parameters: NativeParameters) -> str:
    """Return the one id under which an adapter, or several merged, are known."""
    if parameters.merged_adapters is not None and not parameters.adapter_id:
        return "+".join(parameters.merged_adapters.ids)
    return parameters.adapter_id or ""


def native_parameters(parameters: NativeParameters) -> Parameters:
    """Return the body's parameters as every endpoint has them."""
    return Parameters(
        max_new_tokens=parameters.max_new_tokens,
        best_of=parameters.best_of,
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        top_k=parameters.top_k,
        typical_p=parameters.typical_p,
        repetition_penalty=parameters.repetition_penalty,
        presence_penalty=parameters.presence_penalty,
        frequency_penalty=parameters.frequency_penalty,
        return_k_alternatives=parameters.return_k_alternatives,
        do_sample=parameters.do_sample,
        ignore_eos_token=parameters.ignore_eos_token,
        stop=tuple(parameters.stop),
        seed=parameters.seed,
        truncate=parameters.truncate,
        has_adapter_id=bool(parameters.adapter_id),
        has_merged_adapters=parameters.merged_adapters is not None,
    )


def _serve(server: Server, request: Request, connection: Connection, *, streams: bool | None, as_list: bool) -> None:
    def prepare() -> tuple[Wish, Reply]:
        body = decode(request.headers.get("content-type", ""), request.body, NativeBody)
        wish = _wish(body, streams=body.stream if streams is None else streams)
        return wish, _reply(body, as_list=as_list)

    server.generate(request, connection, prepare)


def _wish(body: NativeBody, *, streams: bool) -> Wish:
    parameters = body.parameters
    prompt = body.inputs
    if parameters.truncate:
        prompt = tokens.truncate_left(prompt, parameters.truncate)
    wanted = parameters.response_format
    schema = None if wanted is None or wanted.type == "text" else wanted.schema
    return Wish(
        prompt=prompt,
        said=prompt,
        adapter_id=merged_adapter_id(parameters),
        adapter_source=parameters.adapter_source or DEFAULT_SOURCE,
        streams=streams,
        schema={"type": "object"} if wanted is not None and wanted.type != "text" and schema is None else schema,
        parameters=native_parameters(parameters),
    )


def _reply(body: NativeBody, *, as_list: bool) -> Reply:
    parameters = body.parameters
    prefix = body.inputs if parameters.return_full_text else ""

    def whole(sequences: list[Generated]) -> object:
        answer: dict[str, object] = {"generated_text": prefix + sequences[0].text}
        if parameters.details:
            answer["details"] = _details(sequences)
        return [answer] if as_list else answer

    def event(text: str, last: Generated | None) -> object:
        details = None
        if last is not None:
            details = {
                "finish_reason": last.finish_reason,
                "prompt_tokens": last.prompt_tokens,
                "generated_tokens": last.generated_tokens,
                "seed": last.seed,
            }
        return {
            "token": {**_token(text), "special": False},
            "generated_text": None if last is None else prefix + last.text,
            "details": details,
        }

    return Reply(whole=whole, event=event, ends_with_done=False)


def _details(sequences: list[Generated]) -> dict[str, object]:
    best = sequences[0]
    details = _sequence_details(best)
    if len(sequences) > 1:
        others = [{"generated_text": other.text, **_sequence_details(other)} for other in sequences[1:]]
        details["best_of_sequences"] = others
    return details


def _sequence_details(generated: Generated) -> dict[str, object]:
    return {
        "finish_reason": generated.finish_reason,
        "prompt_tokens": generated.prompt_tokens,
        "generated_tokens": generated.generated_tokens,
        "skipped_tokens": 0,
        "seed": generated.seed,
        "prefill": [],
        "tokens": [{**_token(piece), "special": False, "skipped": False} for piece in tokens.pieces(generated.text)],
    }


def _token(piece: str) -> dict[str, object]:
    return {"id": tokens.token_id(piece), "text": piece, "logprob": _TOKEN_LOGPROB}
