"""Checks of request fields that gather every violation, so that a caller sees all of them at once."""

import unicodedata
from collections.abc import Mapping
from typing import Final

from lorax_batch_scheduler.errors import InvalidInputError, NotFoundError

from lorax_batch_server.errors import InvalidRequestError, Violation

MAX_ID_CHARACTERS: Final = 64
MAX_NAME_CHARACTERS: Final = 200
MAX_REQUEST_ID_CHARACTERS: Final = 128
MAX_REASON_CHARACTERS: Final = 500
MAX_LABELS: Final = 64
MAX_LABEL_KEY_CHARACTERS: Final = 63
MAX_LABEL_VALUE_CHARACTERS: Final = 255
MAX_PAGE_SIZE: Final = 1_000
MAX_PAGE_TOKEN_CHARACTERS: Final = 500
_MAX_VIOLATIONS: Final = 20
"""Kept of one request; a caller who made more mistakes sees the first of them. A message holds two million fields."""
_SHOWN_CHARACTERS: Final = 60
_CONTROLS: Final = ("Cc", "Zl", "Zp")
"""Of Unicode: those of ASCII, their like from U+0080 to U+009F which terminals obey too, and the ends of lines."""


class Checks:
    """Gathers violations; `done` raises them together."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def fail(self, field: str, message: str) -> None:
        """Note that a field is wrong."""
        if len(self._violations) < _MAX_VIOLATIONS:
            self._violations.append(Violation(field, message))

    def failed(self, error: InvalidInputError) -> None:
        """Note what a check of the scheduler raised."""
        self.fail(error.field, error.message)

    def done(self) -> None:
        """Raise `InvalidRequestError` when something was wrong."""
        if self._violations:
            raise InvalidRequestError(self._violations)

    def text(self, field: str, value: str, *, limit: int, required: bool = False) -> None:
        """Check a text: not too long, no control characters (PostgreSQL can't store NUL, and logs are lines)."""
        if required and not value.strip():
            self.fail(field, "is required")
        elif len(value) > limit:
            self.fail(field, f"has {len(value)} characters, but at most {limit} are accepted")
        elif not is_plain(value):
            self.fail(field, f"{shown(value)} holds a control character: only text is accepted")

    def number(self, field: str, value: float, *, low: float, high: float) -> None:
        """Check that a number lies in a range; NaN does not."""
        if not low <= value <= high:
            shown = f"{value:,}" if isinstance(value, int) else repr(value)
            self.fail(field, f"{shown} is not between {low:,} and {high:,}")

    def size(self, field: str, count: int, *, limit: int, way_out: str = "") -> bool:
        """Check how many entries a list has, and tell whether they are worth a look."""
        if count > limit:
            self.fail(field, f"{count:,} entries, but at most {limit:,} are accepted{way_out}")
        return count <= limit

    def labels(self, field: str, labels: Mapping[str, str]) -> None:
        """Check the number of labels and each key and value."""
        if not self.size(field, len(labels), limit=MAX_LABELS):
            return
        for key, value in labels.items():
            path = f"{field}[{shown(key)}]"
            if not key:
                self.fail(field, "a key is empty: keys have 1 to 63 characters")
            self.text(path, key, limit=MAX_LABEL_KEY_CHARACTERS)
            self.text(path, value, limit=MAX_LABEL_VALUE_CHARACTERS)

    def page(self, page_size: int, page_token: str, *, default: int) -> int:
        """Check both fields of a list call and return the size to use."""
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            self.fail("page_size", f"{page_size} is not between 1 and {MAX_PAGE_SIZE:,} (0: {default})")
        if len(page_token) > MAX_PAGE_TOKEN_CHARACTERS or not is_plain(page_token):
            self.fail(
                "page_token",
                f"{shown(page_token)} is not a token of this service: pass on `next_page_token` of the answer before",
            )
        return page_size or default


def known_id(kind: str, field: str, value: str) -> str:
    """Return an id that may exist.

    Raises:
        InvalidRequestError: it is empty.
        NotFoundError: nothing can have that id.
    """
    if not value:
        raise InvalidRequestError([Violation(field, "is required")])
    if len(value) > MAX_NAME_CHARACTERS or not is_plain(value):
        raise NotFoundError(kind, shown(value).strip("'"))
    return value


def is_plain(value: str) -> bool:
    """Tell whether a text has no control characters, and no ends of lines."""
    return value.isprintable() or not any(unicodedata.category(character) in _CONTROLS for character in value)


def shown(value: str) -> str:
    """Return a text as an error message shows it: quoted, escaped, cut."""
    cut = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "..."
    return repr(cut)
