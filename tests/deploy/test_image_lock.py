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
    names = {line.partition("==")[0] for line in beyond}
    assert {name for name in names if not name.startswith("opentelemetry-")} == {"kubernetes-asyncio"}
    assert "opentelemetry-exporter-otlp-proto-grpc" in names  # or `otlp_endpoint` would be refused in containers
    assert beyond <= pinned("requirements-dev.lock")  # what the tests run with


def test_everything_is_installed_by_its_hash() -> None:
    for name in ("requirements.lock", "requirements-image.lock", "requirements-dev.lock"):
        entries = re.split(r"^(?=[^\s#])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
        assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == [], name
    assert "--require-hashes -r requirements-image.lock" in (ROOT / "Dockerfile").read_text()
