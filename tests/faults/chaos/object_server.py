"""An S3 server that can be told to fail, as a program: prints its port and ends when its input does.

`POST /_faults/STATUS` makes it answer every request so, `POST /_faults/0` no more; the answer is how many it has.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

CONTROL = "/_faults"
_ERROR = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>told to</Message></Error>'
_CODES = {500: b"InternalError", 503: b"SlowDown"}


class FailingApplication:
    """The S3 application, with a switch."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._status = 0
        self._failed = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(CONTROL):
            if environ["REQUEST_METHOD"] == "POST":
                self._status = int(path.rpartition("/")[2])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(self._failed).encode()]
        if self._status:
            self._failed += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(f"{self._status} Told To", [("Content-Type", "application/xml")])
            return [_ERROR % _CODES[self._status]]
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer


if __name__ == "__main__":
    logging.disable()  # a line for each request, into a pipe that nobody reads
    application = FailingApplication(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
