"""`--server URL[,model=NAME][,max-in-flight=N]`: a static slot."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.fleet import Slot

MAX_IN_FLIGHT: Final = 10_000
_SHOWN_CHARACTERS: Final = 200
_FORM: Final = "URL[,model=NAME][,max-in-flight=N]"


def parse_servers(texts: Sequence[str], *, default_model: str | None = None) -> list[Slot]:
    """Return a slot for each text; `default_model` is what servers run that report none.

    Raises:
        ConfigurationError: names the text and what is wrong with it, or the URL that is given twice.
    """
    slots = [replace(parse_server(text), default_model=default_model) for text in texts]
    seen: set[str] = set()
    for slot in slots:
        if slot.url in seen:
            raise ConfigurationError(f"server {slot.url} is given twice")
        seen.add(slot.url)
    return slots


def parse_server(text: str) -> Slot:
    """Return the slot that a text describes. Raises `ConfigurationError`."""
    url, *options = text.strip().split(",")
    model: str | None = None
    max_in_flight: int | None = None
    for option in options:
        name, separator, value = (piece.strip() for piece in option.partition("="))
        if not separator or not value:
            raise _wrong(text, f"'{option}' is not NAME=VALUE")
        match name:
            case "model" if model is None:
                model = value
            case "max-in-flight" if max_in_flight is None:
                max_in_flight = _in_flight(text, value)
            case "model" | "max-in-flight":
                raise _wrong(text, f"{name} is given twice")
            case _:
                raise _wrong(text, f"'{name}' is not an option: model and max-in-flight are")
    url = _url(text, url.strip())
    return Slot(
        # The same URL is the same slot after a restart.
        slot_id=f"slot_{hashlib.sha256(url.encode()).hexdigest()[:12]}",
        kind="static",
        url=url,
        declared_model=model,
        max_in_flight=max_in_flight,
    )


def _url(text: str, url: str) -> str:
    if not url.isprintable() or " " in url:
        raise _wrong(text, "the URL holds white space or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(text, str(error)) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise _wrong(text, f"'{url}' is not an http:// or https:// URL with a host")
    if parts.username or parts.password:
        raise _wrong(text, "the URL holds a user name or a password, which would end up in logs")
    if parts.query or parts.fragment:
        raise _wrong(text, f"'{url}' has a query or a fragment; give the server's base URL")
    return url.rstrip("/")


def _in_flight(text: str, value: str) -> int:
    # Python reads no number of thousands of digits.
    if not re.fullmatch(r"\d{1,20}", value, re.ASCII) or not 1 <= int(value) <= MAX_IN_FLIGHT:
        raise _wrong(text, f"max-in-flight must be between 1 and {MAX_IN_FLIGHT:,}, not '{value[:_SHOWN_CHARACTERS]}'")
    return int(value)


def _wrong(text: str, what: str) -> ConfigurationError:
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return ConfigurationError(f"server '{shown}': {what} (expected: {_FORM})")
