"""What happens to files on their way: bits flip, ends are lost, pieces come twice or at the wrong place."""

from collections.abc import Callable
from random import Random

TOKENS = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"null", b"NaN", b"1e999",
    b"\\u0000", b"\\ud800", b"\xff", b"\xc0\x80", b"\xe2\x80\xa8", b"9" * 400, b"[" * 300, b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
)  # fmt: skip


def mutate(data: bytes, chance: Random) -> bytes:
    """Return the file after some accidents."""
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        data = chance.choice(_ACCIDENTS)(data, chance)
    return data


def _flip(data: bytes, chance: Random) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _drop(data: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + data[at + chance.choice((1, 2, 30, 4_096)) :]


def _repeat(data: bytes, chance: Random) -> bytes:
    at, size = chance.randint(0, len(data)), chance.choice((1, 2, 30, 4_096))
    return data[: at + size] + data[at:]


def _insert(data: bytes, chance: Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(TOKENS) + data[at:]


def _splice_lines(data: bytes, chance: Random) -> bytes:
    lines = data.split(b"\n")
    first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[first] = lines[first][: chance.randint(0, len(lines[first]))] + lines[second]
    return b"\n".join(lines)


def _swap(data: bytes, chance: Random) -> bytes:
    one, two, three = sorted(chance.randint(0, len(data)) for _ in range(3))
    return data[:one] + data[two:three] + data[one:two] + data[three:]


_ACCIDENTS: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _drop, _repeat, _insert, _splice_lines, _swap)
