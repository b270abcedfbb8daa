"""Looks for planted secrets in all that a service leaves and shows."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import asyncpg

Secrets = Sequence[bytes]


def forms_of(*secrets: str) -> list[bytes]:
    """Return each secret as it is, and as PostgreSQL shows bytes."""
    return [form for secret in secrets for form in (secret.encode(), secret.encode().hex().encode())]


def files_with(secrets: Secrets, *roots: Path, but: Iterable[Path] = ()) -> list[str]:
    """Return the files below some folders that hold a secret."""
    left_out = set(but)
    files = [path for root in roots for path in root.rglob("*") if path.is_file() and path not in left_out]
    assert files, roots
    return [str(path) for path in files if holds(path.read_bytes(), secrets)]


def processes_with(secrets: Secrets, what: str) -> dict[int, str]:
    """Return the processes of this machine with a secret in their `cmdline` or `environ`, and their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if holds((folder / what).read_bytes(), secrets):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended, or is somebody else's
            continue
    found.pop(os.getpid(), None)
    return found


async def tables_with(dsn: str, secrets: Secrets) -> list[str]:
    """Return the tables that show a secret in any row."""
    connection = await asyncpg.connect(dsn)
    try:
        names = [
            row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        assert "job_secrets" in names
        found = []
        for name in names:
            rows = await connection.fetch(f'SELECT whole::text FROM "{name}" AS whole')
            if holds("\n".join(row[0] for row in rows).encode(), secrets):
                found.append(name)
    finally:
        await connection.close()
    return found


def holds(data: bytes, secrets: Secrets) -> bool:
    """Tell whether any secret is in it."""
    return any(secret in data for secret in secrets)
