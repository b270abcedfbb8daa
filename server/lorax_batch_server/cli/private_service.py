"""A service of one's own, as a child on a Unix socket that only this user can reach."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lorax_batch_server.cli.child import ChildProcess
from lorax_batch_server.cli.options import open_client

if TYPE_CHECKING:
    from lorax_batch_client import Client

# The first start makes a PostgreSQL cluster; a start after a crash replays its log.
START_SECONDS: Final = 120.0
ANY_PARAMETERS: Final = 10**18
"""A limit makes sense for a service that many share; whoever names servers of their own knows what they host."""
NOT_INHERITED: Final = {
    "LORAX_BATCH_AUTH",
    "LORAX_BATCH_DATABASE_URL",
    "LORAX_BATCH_OBJECT_STORE",
    "LORAX_BATCH_METRICS_PORT",
    "LORAX_BATCH_OPERATOR_KEY_FILE",
    "LORAX_BATCH_ROLE",
    "LORAX_BATCH_FLEET",
    "LORAX_BATCH_KEEP_SERVERS",
    "LORAX_BATCH_TLS_CERT",
    "LORAX_BATCH_TLS_KEY",
    "LORAX_BATCH_TLS_CLIENT_CA",
}
"""What the caller set for a service of theirs, and would make this one share its data or its port."""


@contextlib.contextmanager
def private_service(
    data_dir: Path,
    servers: Sequence[str] = (),
    *,
    base_model: str = "",
    fleet: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator["Client"]:
    """Start a service over `data_dir`, yield a client of it, and stop it at the end.

    It takes any model, of whatever size; `base_model` is what servers run that report none. `fleet` is a fleet file,
    `settings` are further settings by name.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    # Not in the data directory: the path of a Unix socket may have only 107 bytes.
    with tempfile.TemporaryDirectory(prefix="lorax-batch-") as socket_dir:
        target = f"unix:{socket_dir}/grpc.sock"
        arguments = ["serve", "--listen", target, "--data-dir", str(data_dir)]
        arguments += [argument for server in servers for argument in ("--server", server)]
        environment = _environment(base_model)
        arguments += ["--fleet", str(fleet)] if fleet is not None else []
        environment |= {f"LORAX_BATCH_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        log = data_dir / "service.log"
        with ChildProcess("lorax_batch_server", arguments, log, has_output=True, environment=environment) as child:
            child.read_line(START_SECONDS)
            # With its `sleep`, the client goes on after a broken connection only while the service lives.
            with open_client(target, sleep=child.sleep) as client:
                yield client


def _environment(base_model: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    ours = {"LORAX_BATCH_ACCEPT_UNLISTED_MODELS": "true", "LORAX_BATCH_MAX_PARAMETERS": str(ANY_PARAMETERS)}
    return inherited | ours | ({"LORAX_BATCH_DEFAULT_SERVER_MODEL": base_model} if base_model else {})
