"""Page tokens: the number of the last item, opaque to callers."""

import base64
import binascii

from lorax_batch_scheduler.errors import InvalidInputError

_FIRST = 2**63 - 1


def encode_page_token(number: int) -> str:
    """Return the token that goes on behind the item with this number."""
    return base64.urlsafe_b64encode(f"v1:{number}".encode()).decode().rstrip("=")


def decode_page_token(token: str) -> int:
    """Return the number that items of the page must be smaller than; without a token, no limit."""
    if not token:
        return _FIRST
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
        version, number = text.split(":")
        if version == "v1" and number.isdecimal() and 0 < int(number) < _FIRST:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise InvalidInputError("page_token", f"'{token[:60]}' is no page token of this service; begin without one")
