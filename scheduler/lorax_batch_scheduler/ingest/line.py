"""One line of a dataset: a row in the OpenAI batch format, or what is wrong with it."""

import re
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, GENERATE
from lorax_batch_scheduler.ingest import chat, completions, embeddings, generate
from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown
from lorax_batch_scheduler.ingest.limits import MAX_CUSTOM_ID_CHARACTERS, IngestLimits
from lorax_batch_scheduler.ingest.request import Row, encode
from lorax_batch_scheduler.ingest.rules import need, wrong_type

_NORMALISE: Final = {
    CHAT: chat.normalise,
    COMPLETIONS: completions.normalise,
    EMBEDDINGS: embeddings.normalise,
    GENERATE: generate.normalise,
}
_FIELDS: Final = ("custom_id", "method", "url", "body")


class BadLine(NamedTuple):
    """Why a line is no row."""

    error: InvalidRowError
    custom_id: str | None
    """None where none can be read."""


class LineReader:
    """Turns lines into rows. Remembers the models it has seen, for speed."""

    def __init__(self, limits: IngestLimits) -> None:
        self._limits = limits
        self._models = {""}

    def read(self, line: bytes) -> Row | BadLine | None:
        """Return the row of a line, what is wrong with it, or None for a blank line."""
        if not line:  # Small files decompress to billions of these.
            return None
        try:
            quick = _decode(line)
            if type(quick) is _ChatLine:
                row = chat.shortcut(quick.body, self._models, self._limits)
            else:
                assert isinstance(quick, _CompletionLine)
                row = completions.shortcut(quick.body, self._models, self._limits)
            if row is not None:
                row.custom_id = encode(quick.custom_id)
                return row
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidRowError):
            pass
        return self.examine(line)

    def examine(self, line: bytes) -> Row | BadLine | None:
        """Do what `read` does, without the short cut."""
        if not line.strip():
            return None
        custom_id = None
        try:
            fields = _parse(line)
            custom_id = _readable_id(fields)
            row = self._row(fields)
        except (InvalidRowError, RecursionError) as error:
            fault = error if isinstance(error, InvalidRowError) else _too_deep()
            # Its tracebacks hold this frame, which holds it: 1.7 KB a bad line that stay where the collector is off.
            fault.__traceback__ = fault.__context__ = None
            return BadLine(fault, custom_id if custom_id is not None else find_custom_id(line))
        if len(self._models) < self._limits.max_groups:
            self._models.add(row.key[1])
        return row

    def _row(self, fields: dict[str, object]) -> Row:
        custom_id = need(fields, "custom_id", "")
        if not isinstance(custom_id, str):
            raise wrong_type(custom_id, "custom_id", "a string")
        if not 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS:
            message = f"'custom_id' has {len(custom_id)} characters, but must have 1 to {MAX_CUSTOM_ID_CHARACTERS}"
            raise InvalidRowError(Code.INVALID_CUSTOM_ID, "custom_id", message)
        _check_method(need(fields, "method", "", ': it must be "POST"'))
        url = need(fields, "url", "", f": it must be one of {', '.join(ENDPOINTS)}")
        normalise = _NORMALISE.get(url) if isinstance(url, str) else None
        if normalise is None:
            message = f"'url' is {shown(url)}, but must be one of {', '.join(ENDPOINTS)}"
            raise InvalidRowError(Code.INVALID_URL, "url", message)
        body = need(fields, "body", "")
        if not isinstance(body, dict):
            raise wrong_type(body, "body", "an object")
        for name in fields:
            if name not in _FIELDS:
                message = f"'{name}' is no field of a row ({', '.join(_FIELDS)}): leave it out"
                raise InvalidRowError(Code.UNKNOWN_PARAMETER, name, message)
        row = normalise(body, self._limits)
        row.custom_id = encode(custom_id)
        return row


def _parse(line: bytes) -> dict[str, object]:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        hint = "the file looks like UTF-16: " if b"\0" in line else ""
        message = f"byte {error.start + 1} of the line is not UTF-8 (0x{line[error.start]:02x}): {hint}save it as UTF-8"
        raise InvalidRowError(Code.INVALID_UTF8, "", message) from None
    try:
        value: object = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise InvalidRowError(Code.INVALID_JSON_LINE, "", f"the line is not valid JSON: {reason}") from None
    if not isinstance(value, dict):
        raise InvalidRowError(Code.INVALID_JSON_LINE, "", f"the line is {shown(value)}, but must be a JSON object")
    return value


def _too_deep() -> InvalidRowError:
    return InvalidRowError(Code.INVALID_JSON_LINE, "", "the line is nested too deeply: flatten it")


def _check_method(method: object) -> None:
    if method != "POST":
        raise InvalidRowError(Code.INVALID_METHOD, "method", f"'method' is {shown(method)}, but must be \"POST\"")


def _readable_id(fields: dict[str, object]) -> str | None:
    custom_id = fields.get("custom_id")
    return custom_id if isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS else None


_CUSTOM_ID: Final = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.){1,6144}")')
_SEARCHED_BYTES: Final = 16 << 10


def find_custom_id(line: bytes) -> str | None:
    """Return the custom_id near the beginning of a line that is no valid JSON."""
    match = _CUSTOM_ID.search(line, 0, _SEARCHED_BYTES)
    if match is None:
        return None
    try:
        return _readable_id({"custom_id": msgspec.json.decode(match[1])})
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CUSTOM_ID_CHARACTERS)]


class _ChatLine(msgspec.Struct, tag=CHAT, tag_field="url", forbid_unknown_fields=True):
    custom_id: _Id
    method: Literal["POST"]
    body: chat.ChatBody


class _CompletionLine(msgspec.Struct, tag=COMPLETIONS, tag_field="url", forbid_unknown_fields=True):
    custom_id: _Id
    method: Literal["POST"]
    body: completions.CompletionBody


_decode: Final = msgspec.json.Decoder(_ChatLine | _CompletionLine).decode
