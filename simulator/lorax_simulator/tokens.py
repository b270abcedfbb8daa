"""A stand-in for a tokenizer: four characters a token, and one token for the start of the text."""

TOKEN_CHARACTERS = 4
START_TOKEN = "<s>"  # noqa: S105  a token of text, not a credential


def count(text: str) -> int:
    """Return how many tokens the text has, the start token included."""
    return -(-len(text) // TOKEN_CHARACTERS) + 1


def pieces(text: str) -> list[str]:
    """Return the text cut into tokens, without the start token."""
    return [text[start : start + TOKEN_CHARACTERS] for start in range(0, len(text), TOKEN_CHARACTERS)]


def truncate_left(text: str, tokens: int) -> str:
    """Return the end of the text that fits in that many tokens, the start token included."""
    return text[max(0, len(text) - max(0, tokens - 1) * TOKEN_CHARACTERS) :]


def listing(text: str, *, add_special_tokens: bool) -> list[dict[str, object]]:
    """Return what `/tokenize` answers; ids are stable but mean nothing."""
    listed: list[dict[str, object]] = []
    if add_special_tokens:
        listed.append({"id": 1, "text": START_TOKEN, "start": 0, "stop": 0})
    start = 0
    for piece in pieces(text):
        stop = start + len(piece)
        listed.append({"id": token_id(piece), "text": piece, "start": start, "stop": stop})
        start = stop
    return listed


def token_id(piece: str) -> int:
    """Return a vocabulary id for the piece."""
    return 3 + sum(piece.encode()) * 31 % 31_997
