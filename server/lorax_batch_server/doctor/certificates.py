"""How long certificates still count: those in files that settings name; and whether there are authorities to trust."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong
from lorax_batch_server.settings import Settings

SOON: Final = timedelta(days=21)
_SUFFIXES: Final = ("_cert", "_ca")
"""Of the names of settings that name files with certificates."""


def check_certificates(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of each file."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name.endswith(_SUFFIXES) and isinstance(value, Path):
            yield judge_certificates(name, value, datetime.now(UTC))
    yield from judge_authorities(os.environ)


def judge_authorities(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with the variables that name the authorities of this machine; OpenSSL would go on without."""
    for variable, is_there in (("SSL_CERT_FILE", Path.is_file), ("SSL_CERT_DIR", Path.is_dir)):
        named = environment.get(variable)
        if named and not is_there(Path(named)):
            advice = "correct or unset it: webhooks, and all that has no *_ca of its own, trust nobody so"
            yield wrong("certificate authorities", f"variable {variable} names '{named}', which is not there", advice)


def judge_certificates(setting: str, path: Path, now: datetime) -> Finding:
    """Return when the first of a file's certificates ends."""
    from cryptography import x509

    check = f"certificate {setting}"
    advice = f"renew it and write it to '{path}'"
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        return wrong(check, f"'{path}' can't be read: {error}", "write PEM certificates into it, or correct the path")
    first = min(found, key=lambda each: each.not_valid_after_utc)
    name = first.subject.rfc4514_string() or "without a name"
    told = f"'{path}' ({name}) counts until {first.not_valid_after_utc:%Y-%m-%d}"
    early = [each for each in found if each.not_valid_before_utc > now]
    if early:
        return wrong(check, f"'{path}' counts only from {early[0].not_valid_before_utc:%Y-%m-%d} on", "check the clock")
    if first.not_valid_after_utc <= now:
        return wrong(check, f"{told}: it has expired", advice)
    return warning(check, told, advice) if first.not_valid_after_utc - now < SOON else ok(check, told)
