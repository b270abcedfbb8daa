"""Every way in which a certificate or its key can be unusable, and what a person is told of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.certificates import Authority, Issued

Spoil = Callable[[Authority, Issued], Issued]


def _cert(change: Callable[[Path], object]) -> Spoil:
    def spoil(_: Authority, issued: Issued) -> Issued:
        change(issued.cert)
        return issued

    return spoil


def _key(change: Callable[[Path], object]) -> Spoil:
    def spoil(_: Authority, issued: Issued) -> Issued:
        change(issued.key)
        return issued

    return spoil


def _damage(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[-1:]]) + "\n")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _encrypt(path: Path) -> None:
    key = load_pem_private_key(path.read_bytes(), password=None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


BAD_IDENTITIES: Final[dict[str, tuple[Spoil, str, str]]] = {
    "missing": (_cert(Path.unlink), "cert", "No such file"),
    "directory": (_cert(_directory), "cert", "s a directory"),
    "empty": (_cert(lambda path: path.write_bytes(b"\n")), "cert", "is empty"),
    "no PEM": (_cert(lambda path: path.write_bytes(b"\x30\x82")), "cert", "not a PEM file"),
    "cut": (_cert(_cut), "cert", "truncated"),
    "damaged": (_cert(_damage), "cert", "truncated"),
    "expired": (lambda authority, _: authority.issue("old", days=(-9, -1)), "cert", "expired"),
    "not yet valid": (lambda authority, _: authority.issue("young", days=(1, 9)), "cert", "counts only from"),
    "no key": (_key(Path.unlink), "key", "No such file"),
    "empty key": (_key(lambda path: path.write_bytes(b"")), "key", "is empty"),
    "cut key": (_key(_cut), "key", "truncated"),
    "damaged key": (_key(_damage), "key", "truncated"),
    "locked key": (_key(_encrypt), "key", "pass phrase"),
    "other key": (
        lambda authority, issued: Issued(cert=issued.cert, key=authority.issue("x").key),
        "key",
        "not the key",
    ),
    "swapped": (lambda _, issued: Issued(cert=issued.key, key=issued.cert), "cert", "certificate"),
}
"""By what is wrong: how to make it so, which of the two files is at fault, and a word of what is said."""
