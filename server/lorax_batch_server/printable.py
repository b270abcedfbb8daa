"""Text that comes from elsewhere (names, reasons, custom ids, errors) as a terminal may show it."""


def printable(text: str) -> str:
    """Return a text on one line, without what a terminal would obey: it may come from anybody."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
