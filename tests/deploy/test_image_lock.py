"""What the image installs is what the runtime was resolved to."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pinned(name: str) -> set[str]:
    return set(re.findall(r"^[^\s#]+==[^ ]+", (ROOT / name).read_text(), re.MULTILINE))


def test_the_image_has_the_runtimes_versions() -> None:
    """Dependencies were added or moved, and `make lock` was not run after it."""
    assert pinned("requirements.lock") < pinned("requirements-image.lock")
    beyond = pinned("requirements-image.lock") - pinned("requirements.lock")
    assert {line.partition("==")[0] for line in beyond} == {"kubernetes-asyncio"}
