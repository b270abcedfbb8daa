"""One generation under way on a connection, and how its answer is sent."""

from dataclasses import dataclass, field

import msgspec

from lorax_simulator.connection import Connection, Headers, Request
from lorax_simulator.errors import PlainTextError, RouterError
from lorax_simulator.generation import Generated, Reply, Sequence, Wish
from lorax_simulator.journal import Call
from lorax_simulator.rubbish import DRIP_SECONDS, Rubbish


@dataclass(slots=True, eq=False, kw_only=True)
class Exchange:
    """A request with its rows; `key` and `row_faults` are what the journal and the faults made of its body.

    A probe is a generation of the server's own, for `/startup`: it is in no journal and its answer is empty.
    """

    connection: Connection
    request: Request
    wish: Wish
    reply: Reply
    arrived_at: float
    key: str = ""
    is_probe: bool = False
    permits: int = 0
    row_faults: frozenset[str] = frozenset()
    sequences: list[Sequence] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether all its rows have their tokens."""
        return all(sequence.is_done for sequence in self.sequences)

    def whole(self, missing_keys: frozenset[str]) -> bytes:
        """Return the body of the answer; raises RouterError where the endpoint cannot word one."""
        body = self.reply.whole([sequence.generated for sequence in self.sequences])
        if missing_keys and isinstance(body, dict):
            body = {key: value for key, value in body.items() if key not in missing_keys}
        return msgspec.json.encode(body)

    def send_whole(self, body: bytes, headers: Headers) -> None:
        """Answer with a body; a probe's is empty."""
        self.connection.answer(200, b"" if self.is_probe else body, headers=headers)

    def send_rubbish(self, rubbish: Rubbish, body: bytes, before: bytes) -> None:
        """Answer wrongly; `before` is the body of the row answered before it."""
        data = rubbish.make(body, before)
        if rubbish.drips:
            self.connection.drip(data, DRIP_SECONDS)
        else:
            self.connection.answer_raw(data, rubbish.then)

    def send_token(self, sequence: Sequence, index: int) -> None:
        """Send the event of one token."""
        if self.reply.event is not None and index < len(sequence.pieces):
            self.connection.send_event(msgspec.json.encode(self.reply.event(sequence.pieces[index], None)))

    def send_last_token(self) -> None:
        """Send the event of the last token and end the stream."""
        assert self.reply.event is not None, "an endpoint that streams words its events"
        sequence = self.sequences[0]
        last = sequence.pieces[-1] if sequence.pieces else ""
        self.connection.send_event(msgspec.json.encode(self.reply.event(last, sequence.generated)))
        if self.reply.ends_with_done:
            self.connection.send_event(b"[DONE]")
        self.connection.end_stream()

    def send_error(self, error: RouterError) -> None:
        """Answer with an error; a stream tells it in an event, with status 200."""
        if self.wish.streams:
            self.connection.send_event(msgspec.json.encode(_body(error)))
            self.connection.end_stream()
        else:
            send_error(self.connection, error)

    def call(self, status: int, generated: Generated | None = None) -> Call:
        """Return what the journal keeps of it."""
        return Call(
            key=self.key,
            path=self.request.path,
            adapter=self.wish.adapter_id,
            status=status,
            prompt_tokens=generated.prompt_tokens if generated else 0,
            completion_tokens=generated.generated_tokens if generated else 0,
        )


def send_error(connection: Connection, error: RouterError | PlainTextError) -> None:
    """Send an error as the whole answer."""
    if isinstance(error, PlainTextError):
        connection.answer(error.status, error.text.encode(), "text/plain; charset=utf-8")
    else:
        connection.answer(error.status, msgspec.json.encode(_body(error)))


def _body(error: RouterError) -> dict[str, str]:
    return {"error": error.text, "error_type": error.kind}
