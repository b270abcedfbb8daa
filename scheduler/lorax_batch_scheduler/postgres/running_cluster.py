"""Where the embedded PostgreSQL of a running service is, for whoever may enter its data directory."""

from pathlib import Path
from urllib.parse import quote

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres.embedded import USER


def running_dsn(state_dir: Path) -> str:
    """Return the DSN of the PostgreSQL whose files are under `state_dir`.

    Raises:
        ConfigurationError: it does not run, or may not be looked for.
    """
    file = state_dir / "cluster/data/postmaster.pid"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"no service runs on '{state_dir.parent}', and its PostgreSQL runs with it: start `lorax-batch serve` "
            "first, or name its data directory with --data-dir"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"'{file}' can't be read: {error.strerror}; call this as the user of the service"
        ) from error
    _, _, _, port, socket_directory, *_ = lines
    return f"postgresql://{USER}@/postgres?host={quote(socket_directory, safe='')}&port={port}"
