"""Which handler answers which path and method."""

from collections.abc import Callable

from lorax_simulator import chat, completions, control, embeddings, native, probes
from lorax_simulator.connection import Connection, Request
from lorax_simulator.server import Server

Handler = Callable[[Server, Request, Connection], None]

_EVERYWHERE: dict[str, dict[str, Handler]] = {
    "/": {"POST": native.compatible_generate, "GET": probes.health},
    "/invocations": {"POST": native.compatible_generate},
    "/generate": {"POST": native.generate},
    "/generate_stream": {"POST": native.generate_stream},
    "/v1/chat/completions": {"POST": chat.chat},
    "/v1/completions": {"POST": completions.complete},
    "/embed": {"POST": embeddings.embed},
    "/classify": {"POST": embeddings.classify},
    "/classify_batch": {"POST": embeddings.classify},
    "/tokenize": {"POST": probes.tokenize},
    "/info": {"GET": probes.info},
    "/health": {"GET": probes.health},
    "/ping": {"GET": probes.health},
    "/metrics": {"GET": probes.metrics},
    "/_simulator/faults": {"GET": control.show_faults, "POST": control.change_faults},
    "/_simulator/abort": {"POST": control.abort},
    "/_simulator/requests": {"GET": control.show_requests},
    "/_simulator/stats": {"GET": control.show_stats},
}
_ON_MAIN: dict[str, dict[str, Handler]] = {
    "/v1/embeddings": {"POST": embeddings.openai_embed},
    "/startup": {"GET": probes.startup},
}


class Router:
    """Dispatches requests; an unknown path is 404 and a wrong method 405, both with empty bodies."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._routes = _EVERYWHERE | _ON_MAIN if server.options.identity.is_main else _EVERYWHERE

    def __call__(self, request: Request, connection: Connection) -> None:
        """Answer the request, now or later."""
        methods = self._routes.get(request.path)
        if methods is None:
            connection.answer(404)
            return
        handler = methods.get(request.method)
        if handler is None:
            connection.answer(405, headers=(("allow", ",".join(methods)),))
            return
        handler(self._server, request, connection)
