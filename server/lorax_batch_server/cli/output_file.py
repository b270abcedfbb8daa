"""Files that a command writes whole or not at all."""

from pathlib import Path

from lorax_batch_server.cli.reporting_group import CommandError


def check_place(path: Path, option: str) -> None:
    """Refuse a place where no file can be written, before the work for it is done. Raises `CommandError`."""
    if path.is_dir():
        raise CommandError(f"{option}: '{path}' is a folder: name a file in it")
    if not path.parent.is_dir():
        raise CommandError(f"{option}: '{path}' can't be written: there is no folder '{path.parent}': make it first")


def write_whole(path: Path, data: bytes, option: str) -> None:
    """Write a file, instead of what may be there, so that nobody ever finds a part of it. Raises `CommandError`."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise CommandError(f"{option}: '{path}' can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
