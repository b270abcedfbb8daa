"""A receiver of webhooks in this process, which verifies every message with the specification's own library."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request that arrived."""

    message_id: str
    headers: Mapping[str, str]
    body: bytes
    payload: dict[str, Any]
    """Empty: its signature is not good."""

    @property
    def type(self) -> str:
        return str(self.payload["type"])

    @property
    def sequence(self) -> int:
        return int(self.payload["data"]["sequence"])

    @property
    def job_id(self) -> str:
        return str(self.payload["data"]["id"])

    def verified_by(self, secret: str) -> bool:
        """Whether a secret's signature is among those it came with."""
        try:
            Webhook(secret).verify(self.body, dict(self.headers))
        except WebhookVerificationError:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the receiver says to a request."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: bool = False
    """Say nothing until the receiver is closed or let go."""
    cut: bool = False
    """Close the connection without an answer."""


OK = Answer()


class Receiver:
    """Listens on a free port until it is closed."""

    def __init__(self) -> None:
        self.secret = ""
        self.answer: Callable[[Received], Answer] = lambda _: OK
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._go = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hooks?of=me"

    @property
    def received(self) -> list[Received]:
        """All requests so far, in the order of their arrival."""
        with self._changed:
            return list(self._received)

    def let_go(self) -> None:
        """Answer what is held."""
        self._go.set()

    def wait(self, done: Callable[[list[Received]], bool]) -> list[Received]:
        """Return what has arrived when that is enough."""
        with self._changed:
            if not self._changed.wait_for(lambda: done(self._received), WAIT_S):
                raise AssertionError(f"only {[(one.message_id, one.payload) for one in self._received]} arrived")
            return list(self._received)

    def _take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        lowered = {name.lower(): value for name, value in headers.items()}
        try:
            payload = Webhook(self.secret).verify(body, lowered) if self.secret else {}
        except WebhookVerificationError:
            payload = {}
        received = Received(message_id=lowered.get("webhook-id", ""), headers=lowered, body=body, payload=payload)
        answer = self.answer(received)
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = WAIT_S

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = receiver._take(dict(self.headers.items()), body)
                if answer.hold:
                    receiver._go.wait(WAIT_S)
                if answer.cut:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                try:
                    self.wfile.write(answer.body)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                pass

        return Handler
