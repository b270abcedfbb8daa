"""`POST /v1/completions`."""

from lorax_simulator.bodies import CompletionBody
from lorax_simulator.chat import DEFAULT_SOURCE, adapter_of, completion_finish_reason, unsigned, usage
from lorax_simulator.connection import Connection, Request
from lorax_simulator.decoding import decode
from lorax_simulator.generation import Generated, Reply, Wish
from lorax_simulator.server import Server
from lorax_simulator.validation import Parameters


def complete(server: Server, request: Request, connection: Connection) -> None:
    """Answer one text completion."""

    def prepare() -> tuple[Wish, Reply]:
        body = decode(request.headers.get("content-type", ""), request.body, CompletionBody)
        return _wish(body, server), _reply(body)

    server.generate(request, connection, prepare)


def _wish(body: CompletionBody, server: Server) -> Wish:
    return Wish(
        prompt=body.prompt,
        said=body.prompt,
        adapter_id=adapter_of(body.model, server),
        adapter_source=body.adapter_source or DEFAULT_SOURCE,
        streams=bool(body.stream),
        parameters=Parameters(
            max_new_tokens=unsigned(body.max_tokens),
            best_of=body.best_of,
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            repetition_penalty=body.repetition_penalty,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            do_sample=body.n is not None,
            ignore_eos_token=bool(body.ignore_eos_token),
            stop=tuple(body.stop),
            seed=body.seed,
        ),
    )


def _reply(body: CompletionBody) -> Reply:
    echoed = body.prompt if body.echo else ""

    def worded(text: str, generated: Generated | None) -> dict[str, object]:
        choice: dict[str, object] = {"index": 0, "text": text, "logprobs": None}
        answer = {"id": "null", "object": "text_completion", "created": 0, "model": "null", "choices": [choice]}
        if generated is not None:
            choice["finish_reason"] = completion_finish_reason(generated)
            answer["usage"] = usage(generated)
        return answer

    def event(text: str, last: Generated | None) -> object:
        is_stop = last is not None and completion_finish_reason(last) == "stop"
        return worded("" if is_stop else text, last)

    return Reply(whole=lambda sequences: worded(echoed + sequences[0].text, sequences[0]), event=event)
