"""Files that trip parsers: each under the name of what is wrong with it."""

import gzip
import json
import sys
from typing import Final

from lorax_batch_scheduler.chunk import CHAT, GENERATE

from tests.unit.ingest.lines_of import chat, chat_line, line_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOM: Final = b"\xef\xbb\xbf"
ROWS: Final = b"".join(chat_line(f"row-{n}", f"text {n} \u00e4\U0001f600", max_tokens=n + 1) for n in range(20))
GZIP: Final = gzip.compress(ROWS, mtime=0)
ZSTD: Final = zstd.compress(ROWS)
SKIPPABLE: Final = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
"""A zstd frame that holds nothing of the file."""


def with_field(name: str, raw: bytes) -> bytes:
    """Return a row with a field of its body as these bytes."""
    return line_of(chat(x=0)).replace(b'"x": 0', b'"%s": %s' % (name.encode(), raw)) + b"\n"


def with_id(raw: bytes) -> bytes:
    """Return a row with these bytes as its id."""
    return line_of(chat(), custom_id=0).replace(b'"custom_id": 0', b'"custom_id": ' + raw) + b"\n"


def nested(opening: bytes, inner: bytes, closing: bytes, depth: int) -> bytes:
    """Return something so deep."""
    return opening * depth + inner + closing * depth


def schema(value: object) -> bytes:
    """Return a row that asks for a JSON schema."""
    return line_of(chat(response_format={"type": "json_object", "schema": value})) + b"\n"


TEXTS: Final[dict[str, bytes]] = {
    "NaN": with_field("temperature", b"NaN"),
    "Infinity": with_field("temperature", b"-Infinity"),
    "number beyond floats": with_field("temperature", b"1e999"),
    "number near nothing": with_field("temperature", b"1e-999"),
    "integer beyond 64 bits": with_field("seed", b"1" + b"0" * 40),
    "integer of thousands of digits": with_field("seed", b"9" * 5_000),
    "integer with a zero in front": with_field("seed", b"01"),
    "integer with a plus": with_field("seed", b"+1"),
    "whole float": with_field("max_tokens", b"3.0"),
    "float of thousands of digits": with_field("temperature", b"0." + b"3" * 5_000),
    "minus nothing": with_field("max_tokens", b"-0"),
    "hexadecimal": with_field("seed", b"0x10"),
    "field twice": b'{"custom_id":"a","custom_id":"b",' + line_of(chat())[1:] + b"\n",
    "body twice": line_of(chat())[:-1] + b',"body":{"model":"","messages":[]}}\n',
    "lone surrogate": with_field("user", b'"\\ud800"'),
    "surrogates the wrong way round": with_field("user", b'"\\udc00\\ud800"'),
    "surrogate pair": with_id(b'"\\ud83d\\ude00"'),
    "lone surrogate in the id": with_id(b'"\\udfff"'),
    "NUL escaped in the id": with_id(b'"\\u0000"'),
    "NUL in the id": with_id(b'"\0"'),
    "NULs": ROWS[:100] + b"\0" * 50 + ROWS[100:],
    "NULs only": b"\0" * 5_000,
    "control character in a string": with_id(b'"a\tb"'),
    "delete character in the id": with_id(b'"\x7f"'),
    "mark first": BOM + ROWS,
    "mark in the middle": ROWS + BOM + chat_line("behind") + chat_line("behind too"),
    "mark twice": BOM + BOM + ROWS,
    "half a mark": BOM[:2] + ROWS,
    "UTF-16": ROWS.decode().encode("utf-16"),
    "UTF-16 big endian": ROWS.decode().encode("utf-16-be"),
    "UTF-32": ROWS.decode().encode("utf-32"),
    "Latin-1": chat_line("\u00e4").decode("unicode-escape").encode("latin-1"),
    "overlong UTF-8": with_id(b'"\xc0\xaf"'),
    "surrogate in UTF-8": with_id(b'"\xed\xa0\x80"'),
    "beyond Unicode": with_id(b'"\xf4\x90\x80\x80"'),
    "cut character": with_id(b'"\xf0\x9f"'),
    "carriage returns only": ROWS.replace(b"\n", b"\r"),
    "carriage returns and newlines": ROWS.replace(b"\n", b"\r\n"),
    "newlines and carriage returns": ROWS.replace(b"\n", b"\n\r"),
    "line separators": ROWS.replace(b"\n", "\u2028".encode()),
    "line separator in a string": with_id('"a\u2028b\u2029c\x85"'.encode()),
    "form feeds": ROWS.replace(b"\n", b"\f\n\v\n"),
    "white space of Unicode": ROWS + "\u00a0\n\u3000\n".encode(),
    "no newline at the end": ROWS[:-1],
    "an array": b"[" + ROWS.replace(b"\n", b",") + b"{}]\n",
    "a pretty row": json.dumps(json.loads(chat_line("a")), indent=2).encode(),
    "two rows on a line": ROWS.replace(b"\n", b"", 1),
    "a comment": b"// rows\n" + ROWS,
    "single quotes": ROWS.replace(b'"', b"'"),
    "trailing comma": chat_line("a")[:-2] + b",}\n",
    "scalars": b'1\ntrue\nnull\n"x"\n[]\n-\n.\n{}\n',
    "deep arrays": with_field("user", nested(b"[", b"", b"]", 100_000)),
    "deep objects": with_field("user", nested(b'{"a":', b"1", b"}", 50_000)),
    "half deep": with_field("user", nested(b"[", b"", b"]", 900)),
    "not closed": b"[" * 200_000,
    "deep schema": schema(json.loads(nested(b'{"items":', b"{}", b"}", 80))),
    "schema with a reference of digits": schema({"prefixItems": [{"$ref": "#/prefixItems/" + "0" * 5_000}]}),
    "schema with huge limits": schema({"type": "string", "minLength": 10**30, "maxLength": 10**40}),
    "schema that multiplies": schema(
        {"$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 9} for n in range(20)}, "$ref": "#/$defs/d0"}
    ),
    "long key": line_of(chat(**{"k" * 100_000: 1})) + b"\n",
    "long id": line_of(chat(), custom_id="i" * 100_000) + b"\n",
    "long unclosed id": b'{"custom_id":"' + b'\\"' * 10_000,
    "ids and ids": b'{"custom_id":"' * 5_000,
    "long line": chat_line("long", "x" * 3_000_000),
    "long line of white space": b" " * 3_000_000 + b"\n" + ROWS,
    "long model": line_of(chat(model="m" * 2_000)) + b"\n",
    "model with control characters": line_of(chat(model="a\r\nb\0")) + b"\n",
    "many fields": line_of(chat(**{f"f{n}": None for n in range(20_000)})) + b"\n",
    "many messages": line_of(chat(messages=[1] * 50_000)) + b"\n",
    "a url that is a list": line_of(chat(), url=[CHAT]) + b"\n",
    "many stops": line_of({"inputs": "x", "parameters": {"stop": ["s"] * 50_000}}, GENERATE) + b"\n",
    "many newlines": b"\n" * 100_000 + ROWS,
    "the same id": chat_line("same") * 300,
}
COMPRESSED: Final[dict[str, bytes]] = {
    "gzip": GZIP,
    "gzip members": GZIP + gzip.compress(b"") * 500 + gzip.compress(chat_line("last")),
    "gzip cut": GZIP[:-5],
    "gzip without its data": GZIP[:10],
    "gzip magic": GZIP[:2],
    "gzip damaged": GZIP[:60] + b"\xff\x00\xff" + GZIP[63:],
    "gzip with a wrong sum": GZIP[:-8] + b"\0\0\0\0" + GZIP[-4:],
    "gzip with a reserved flag": GZIP[:3] + b"\xe0" + GZIP[4:],
    "gzip with garbage behind": GZIP + b"garbage",
    "gzip padded": GZIP + bytes(600),
    "gzip in gzip": gzip.compress(GZIP, mtime=0),
    "gzip bomb": gzip.compress(bytes(20_000_000), mtime=0),
    "gzip bomb of newlines": gzip.compress(b"\n" * 500_000, mtime=0),
    "zstd": ZSTD,
    "zstd frames": SKIPPABLE + ZSTD + SKIPPABLE + zstd.compress(b"") * 50 + zstd.compress(chat_line("last")),
    "zstd cut": ZSTD[:-5],
    "zstd magic": ZSTD[:4],
    "zstd damaged": ZSTD[:60] + b"\xff\x00\xff" + ZSTD[63:],
    "zstd with garbage behind": ZSTD + b"garbage",
    "zstd padded": ZSTD + bytes(600),
    "zstd skippable only": SKIPPABLE * 10,
    "zstd skippable of 4 GiB": SKIPPABLE[:4] + b"\xff\xff\xff\xff" + bytes(100),
    "zstd with a window of 2 GiB": b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(100),
    "zstd with a dictionary": b"\x28\xb5\x2f\xfd\x03\x58\x01\x02\x03\x04" + bytes(50),
    "zstd bomb": zstd.compress(bytes(20_000_000)),
    "zstd and gzip": ZSTD + GZIP,
    "zip": b"PK\x03\x04" + bytes(100),
    "bzip2": b"BZh91AY&SY" + bytes(100),
    "xz": b"\xfd7zXZ\x00" + bytes(100),
}
NASTY_FILES: Final[dict[str, bytes]] = TEXTS | COMPRESSED
