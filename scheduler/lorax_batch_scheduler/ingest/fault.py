"""What can be wrong with a line."""

from enum import StrEnum
from typing import Final

import msgspec


class Code(StrEnum):
    """The codes of invalid lines: OpenAI's where it has one."""

    INVALID_JSON_LINE = "invalid_json_line"
    INVALID_UTF8 = "invalid_utf8"
    LINE_TOO_LONG = "line_too_long"
    EMPTY_FILE = "empty_file"
    DUPLICATE_CUSTOM_ID = "duplicate_custom_id"
    INVALID_CUSTOM_ID = "invalid_custom_id"
    INVALID_METHOD = "invalid_method"
    INVALID_URL = "invalid_url"
    MISSING_PARAMETER = "missing_required_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    """LoRAX would ignore the field silently."""
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    """A field of the OpenAI API that LoRAX can't honour."""
    UNSUPPORTED_VALUE = "unsupported_value"
    INVALID_TYPE = "invalid_type"
    INVALID_VALUE = "invalid_value"
    INVALID_REQUEST = "invalid_request"
    """Fields that are fine one by one, but not together."""
    INVALID_SCHEMA = "invalid_json_schema"
    """A JSON schema that LoRAX can't compile; it would fail every row that runs beside it."""
    STREAMING_UNSUPPORTED = "streaming_unsupported"
    MAX_TOKENS_TOO_LARGE = "max_tokens_too_large"
    ADAPTER_NOT_ALLOWED = "adapter_not_allowed"
    TOO_MANY_ADAPTERS = "too_many_adapters"
    CORRUPT_COMPRESSION = "corrupt_compression"
    FILE_TOO_LARGE = "file_too_large"


class InvalidRowError(Exception):
    """A line is no valid row. Never leaves ingest: it becomes an `InvalidLine`."""

    def __init__(self, code: Code, param: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.param = _printable(param, _MAX_PARAM_CHARACTERS)
        self.message = _printable(message, _MAX_MESSAGE_CHARACTERS)


class InvalidFileError(Exception):
    """The file as a whole can't be read on from here. Never leaves ingest either."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


_SHOWN_CHARACTERS: Final = 60
_MAX_PARAM_CHARACTERS: Final = 200
_MAX_MESSAGE_CHARACTERS: Final = 1_000


def _printable(text: str, characters: int) -> str:
    """Shorten text that quotes a line, and escape its control characters (PostgreSQL stores no NUL)."""
    if len(text) > characters:
        text = text[: characters - 3] + "..."
    return "".join(c if ord(c) >= 32 else f"\\x{ord(c):02x}" for c in text)


def shown(value: object) -> str:
    """Return a value as JSON, shortened, for an error message."""
    if isinstance(value, dict | list) and len(value) > _SHOWN_CHARACTERS:
        return f"an object of {len(value)} fields" if isinstance(value, dict) else f"a list of {len(value)} items"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
