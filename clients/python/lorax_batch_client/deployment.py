"""Which server of the fleet somebody means."""

from collections.abc import Sequence

from lorax_batch_client.errors import AmbiguousError, FailedPreconditionError, NotFoundError
from lorax_batch_client.fleet import Server
from lorax_batch_client.server_config import ServerConfig


def find_server(servers: Sequence[Server], ref: str) -> Server:
    """Return the server with that id, on the slot with that id, or of that base model.

    Of several that run with the same configuration it is the first by id.

    Raises:
        NotFoundError: none is meant; the message lists what there is.
        AmbiguousError: several are meant that differ; the message lists them.
    """
    found = (
        [server for server in servers if server.server_id == ref]
        or [server for server in servers if server.slot_id == ref]
        or [server for server in servers if ref.casefold() in _model_names(server)]
    )
    if not found:
        there = f"there are {_listed(servers)}" if servers else "the fleet has no servers now"
        raise NotFoundError(f"no server has the id, the slot or the base model '{ref}': {there}")
    if len({_comparable(server) for server in found}) > 1:
        raise AmbiguousError(f"'{ref}' means {len(found)} servers that differ: name one of {_listed(found)} by its id")
    return min(found, key=lambda server: server.server_id)


def configuration_of(server: Server) -> ServerConfig:
    """Return what a server was started with; of one that the service did not start only its model is known.

    Raises:
        FailedPreconditionError: it has not told its model yet.
    """
    model = server.base_model_id or server.model_id
    if server.server_config is not None:
        return server.server_config
    if not model:
        why = f" ({server.reason})" if server.reason else ""
        raise FailedPreconditionError(
            f"server '{server.server_id}' is {server.state.value} and has not told its model yet{why}: try again when "
            "it is ready"
        )
    return ServerConfig(base_model=model)


def _model_names(server: Server) -> set[str]:
    asked = server.server_config.base_model if server.server_config is not None else ""
    return {name.casefold() for name in (server.base_model_id, server.model_id, asked) if name}


def _comparable(server: Server) -> tuple[str, ServerConfig | None]:
    return server.base_model_id or server.model_id, server.server_config


def _listed(servers: Sequence[Server]) -> str:
    """Return the servers for people, so that each can be told from the others."""
    return "; ".join(_described(server) for server in sorted(servers, key=lambda server: server.server_id))


def _described(server: Server) -> str:
    config = server.server_config
    model = server.base_model_id or server.model_id or "no model yet"
    facts = [server.state.value]
    if config is not None:
        facts += [text for text in (config.quantization, config.lorax_image_tag, config.backend) if text]
        facts += [" ".join(config.custom_args)] if config.custom_args else []
    slot = f" on slot {server.slot_id}" if server.slot_id != server.server_id else ""
    return f"{server.server_id}{slot}: {model} ({', '.join(facts)})"
