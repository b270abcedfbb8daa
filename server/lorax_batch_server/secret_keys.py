"""The keys that tokens are sealed with: those that are set, else one of our own for the embedded database."""

import structlog
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore
from lorax_batch_scheduler.redaction import REDACTOR
from lorax_batch_scheduler.sealing.key_ring import parse_keys
from lorax_batch_scheduler.sealing.key_source import FixedKeys, KeyFile, KeySource, ensure_key_file
from lorax_batch_scheduler.sealing.sealer import Sealer

from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.settings import PREFIX, Settings

_log = structlog.get_logger(__name__)


def given_keys(settings: Settings) -> KeySource | None:
    """Return the keys that settings name; None: they name none.

    Raises:
        ConfigurationError: they can't be used: names the setting and the key, and says what to change.
    """
    if settings.secrets_key_file is not None:
        if settings.secrets_key is not None:
            raise ConfigurationError(
                f"secrets_key_file and secrets_key ({PREFIX}SECRETS_KEY) are both set: set one of them"
            )
        return KeyFile(settings.secrets_key_file)
    if settings.secrets_key is not None:
        ring = parse_keys(settings.secrets_key.get_secret_value(), f"secrets_key ({PREFIX}SECRETS_KEY)")
        return FixedKeys(ring)
    return None


def make_sealer(settings: Settings, keys: KeySource | None, directory: DataDirectory | None) -> Sealer:
    """Return what seals tokens. Without a key nothing can be sealed, and jobs with tokens are refused.

    `keys`: the `given_keys`.

    Raises:
        ConfigurationError: the embedded database's own key can't be read or made.
    """
    if settings.database_url is not None:
        REDACTOR.remember(settings.database_url.get_secret_value())
    return Sealer(keys if keys is not None else _own_keys(settings, directory))


def _own_keys(settings: Settings, directory: DataDirectory | None) -> KeySource:
    if settings.database_url is not None or directory is None:
        # A key that each process made for itself would open nothing of the others'.
        return FixedKeys()
    try:
        if ensure_key_file(directory.secrets_key):
            _log.info("secrets_key_made", file=str(directory.secrets_key))
    except OSError as error:
        raise ConfigurationError(
            f"the key for tokens can't be written to '{directory.secrets_key}': {error.strerror}; set secrets_key_file"
        ) from error
    return KeyFile(directory.secrets_key)


async def look_after_secrets(secrets: PostgresSecretStore, sealer: Sealer) -> None:
    """Seal what was stored before there was a key, and tell operators of what nobody here can read."""
    counts = await secrets.counts()
    if counts.get(""):
        if sealer.current_key_id is None:
            _log.warning("secrets_not_sealed", jobs=counts[""], way_out="set secrets_key_file, and start again")
        else:
            done = await secrets.seal_anew(only_plain=True)
            _log.info("secrets_sealed", jobs=done.sealed, key=sealer.current_key_id)
    lost = {key_id: jobs for key_id, jobs in counts.items() if key_id and not sealer.knows(key_id)}
    if lost:
        _log.error("secrets_unreadable", keys=lost, way_out="add these keys to secrets_key_file of every process")
