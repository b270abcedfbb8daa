"""Writes docs/settings.md, made from the settings and their descriptions.

With `--check`, says whether it is fresh and writes nothing.
"""

import sys
from enum import Enum
from pathlib import Path
from typing import Any, Final

from lorax_batch_server.settings import Settings

_PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
_HEAD: Final = """\
# Settings

<!-- Made by `make api-docs` from server/lorax_batch_server/*settings.py: change the descriptions there. -->

Each is a key of the file of `--config` (TOML), and a variable: `LORAX_BATCH_` and its name in capitals.
`lorax-batch serve --help` shows which are options too. An option goes before a variable, a variable before the file.
A key that is none is refused; `lorax-batch doctor --config FILE` also finds variables that are none. Lists are lists
in the file; in a variable, their items stand with spaces between them.

| setting | default | meaning |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = (
        f"| `{name}` | {_shown(field.default)} | {_escaped(field.description or '')} |\n"
        for name, field in sorted(Settings.model_fields.items())
    )
    return _HEAD + "".join(rows)


def _shown(value: Any) -> str:  # noqa: ANN401 - a default is of any type
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the page, or check it."""
    if "--check" not in sys.argv[1:]:
        _PAGE.write_text(page(), encoding="utf-8")
    elif _PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write("docs/settings.md is not what the settings say: `make api-docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
