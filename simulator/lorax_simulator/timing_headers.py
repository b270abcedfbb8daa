"""The response headers that tell how long a row took and how large it was."""

from lorax_simulator.connection import Headers
from lorax_simulator.generation import Generated, Wish
from lorax_simulator.row import Row


def timing_headers(row: Row, generated: Generated, wish: Wish, *, model_id: str, scale: float) -> Headers:
    """Return the headers of a 200; times are whole milliseconds of real time, so a small scale rounds them to 0."""

    def ms(model_seconds: float) -> str:
        return str(int(model_seconds * scale * 1000))

    total = ms(row.finished_at - row.arrived_at)
    inference = row.finished_at - row.joined_at
    made = generated.generated_tokens
    headers = (
        ("x-compute-type", "gpu+optimized"),
        ("x-compute-time", total),
        ("x-compute-characters", str(len(wish.prompt))),
        ("x-total-time", total),
        ("x-validation-time", ms(row.queued_at - row.arrived_at)),
        ("x-queue-time", ms(row.joined_at - row.queued_at)),
        ("x-inference-time", ms(inference)),
        ("x-time-per-token", ms(inference / made)),
        ("x-time-to-first-token", ms(row.first_token_at - row.arrived_at)),
        ("x-time-per-output-token", ms((row.finished_at - row.first_token_at) / max(1, made - 1))),
        ("x-prompt-tokens", str(generated.prompt_tokens)),
        ("x-generated-tokens", str(made)),
        ("x-skipped-tokens", "0"),
        ("x-total-tokens", str(generated.prompt_tokens + made)),
        ("x-model-id", model_id),
    )
    if not wish.adapter_id:
        return headers
    adapter_id = "".join(character for character in wish.adapter_id if character.isprintable())
    return (*headers, ("x-adapter-id", adapter_id), ("x-adapter-source", wish.adapter_source))
