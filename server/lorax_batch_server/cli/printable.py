"""What comes from elsewhere (names, reasons, custom ids, errors) as a terminal may show it."""

import typer


def printable(text: str) -> str:
    """Return a text on one line, without what a terminal would obey: it may come from anybody."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def say(line: str, *, err: bool = False) -> None:
    """Print one line; what would be a second one, or move the cursor, is shown escaped."""
    typer.echo(printable(line), err=err)
