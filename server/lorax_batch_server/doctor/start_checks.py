"""What `serve` refuses before it begins anything: looked at by the same functions, all of it, not the first alone."""

from collections.abc import Callable, Iterator
from functools import partial

from lorax_batch_scheduler.errors import ConfigurationError

from lorax_batch_server.doctor.finding import Finding, ok, wrong
from lorax_batch_server.import_roots import check_import_roots
from lorax_batch_server.listener_guard import guarded_certificates
from lorax_batch_server.operator_key import check_operator_key_file
from lorax_batch_server.secret_keys import given_keys
from lorax_batch_server.security_settings import CLIENT_PREFIXES
from lorax_batch_server.settings import Settings


def check_start(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of the listener, of the files of TLS, of import roots, and of files with keys."""
    yield _judged("listener", f"on {settings.listen}", partial(guarded_certificates, settings))
    fitting = True
    for prefix in CLIENT_PREFIXES:
        found = _judged(f"TLS of {prefix}_*", "", partial(settings.client_tls, prefix))
        if found.advice:
            fitting = False
            yield found
    if fitting:
        found = _judged("TLS of database_*", "", settings.check_client_files)
        if found.advice:
            yield found
    if settings.import_roots:
        told = f"{len(settings.import_roots)} directories to import from hold nothing of the service's own"
        yield _judged("import roots", told, partial(check_import_roots, settings))
    if settings.secrets_key_file is not None or settings.secrets_key is not None:
        yield _judged("secrets", "the keys that tokens are sealed with can be read", partial(given_keys, settings))
    if settings.operator_key_file is not None:
        path = settings.operator_key_file
        told = f"'{path}' holds a key" if path.exists() else f"'{path}' is made by the first start"
        yield _judged("operator key", told, partial(check_operator_key_file, path))


def _judged(check: str, told: str, look: Callable[[], object]) -> Finding:
    try:
        look()
    except ConfigurationError as error:
        return wrong(check, str(error), "correct it: the service does not start so")
    return ok(check, told)
