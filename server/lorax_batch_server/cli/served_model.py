"""Which base model the servers run, when the caller does not say."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import typer

from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import Client

POLL_SECONDS: Final = 0.2
NOTICE_SECONDS: Final = 2.0
TELLS_NO_MODEL: Final = "does not tell its model"
"""What the service says of a server that answers, but can't be used for that."""


def find_served_model(client: "Client", *, sleep: Callable[[float], object] = time.sleep) -> str:
    """Return the one base model that the servers report, waiting until one of them answers."""
    from lorax_batch_client import ServerState

    waited = 0.0
    while True:
        servers = list(client.list_servers())
        ready = [one for one in servers if one.state in (ServerState.READY, ServerState.SUSPECT)]
        models = sorted({one.base_model_id or one.model_id for one in ready} - {""})
        if len(models) == 1:
            return models[0]
        if models:
            raise CommandError(f"the servers run different models ({', '.join(models)}): choose with --base-model")
        if ready or (servers and all(TELLS_NO_MODEL in one.reason for one in servers)):
            raise CommandError("the servers do not say what model they run: name it with --base-model")
        if waited <= NOTICE_SECONDS < waited + POLL_SECONDS:
            slots = list(client.list_slots())
            reasons = "; ".join(f"{slot.url}: {slot.reason or 'no answer yet'}" for slot in slots)
            typer.echo(f"waiting for a server to answer ({reasons})", err=True)
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS
