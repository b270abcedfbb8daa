"""A LoRAX server that answers every row alike and remembers the trace that each request came with."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_INFO = {
    "model_id": "mistralai/Mistral-7B-Instruct-v0.2",
    "max_concurrent_requests": 16,
    "max_total_tokens": 4_096,
    "max_input_length": 4_000,
    "max_batch_total_tokens": 100_000,
}
_ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


class ListeningServer:
    """Serves on a free port of loopback."""

    def __init__(self) -> None:
        self.traces: list[str] = []
        listening = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(_INFO if self.path == "/info" else {})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                listening.traces.append(self.headers.get("traceparent", ""))
                self.answer(_ANSWER)

            def answer(self, value: object) -> None:
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
