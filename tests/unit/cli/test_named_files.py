"""A file that can't be used is told with what names it, before anything is begun."""

from pathlib import Path

import pytest
from lorax_batch_server.cli.application import application
from typer.testing import CliRunner

CREATE = ("jobs", "create", "--dataset", "d", "--base-model", "mistral-7b")


def said(*arguments: str) -> str:
    """Return what a command complains of."""
    ended = CliRunner().invoke(application, arguments)
    assert ended.exit_code == 2, ended.output
    assert "Traceback" not in ended.output
    return ended.stderr


@pytest.mark.parametrize("option", ["--hf-token-file", "--adapter-token-file"])
@pytest.mark.parametrize(("content", "fault"), [(None, "can't be read: No such"), (b" \n", "empty"), (b"\xff", "text")])
def test_a_token_file(option: str, content: bytes | None, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    told = said(*CREATE, option, str(file))
    assert f"{option}: {file}" in told
    assert fault in told


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--config", "{}/none"), "(--config)"),
        (("--catalogue", "{}/none"), "catalogue file"),
        (("--fleet", "{}/none"), "fleet file"),
        (("--secrets-key-file", "{}/none"), "secrets_key_file"),
        (("--operator-key-file", "{}/none/key"), "operator_key_file"),
        (("--tls-cert", "{}/none", "--tls-key", "{}/none"), "tls_cert"),
    ],
)
def test_a_file_of_the_service(arguments: tuple[str, ...], name: str, tmp_path: Path) -> None:
    told = said("serve", "--data-dir", str(tmp_path / "data"), *(each.format(tmp_path) for each in arguments))
    assert name in told
    assert str(tmp_path / "none") in told
    assert not (tmp_path / "data").exists(), "nothing is begun"


@pytest.mark.parametrize("prefix", ["database", "object_store", "bucket", "server"])
def test_a_certificate_without_its_key(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LORAX_BATCH_{prefix.upper()}_CERT", str(tmp_path / "cert.pem"))
    told = said("serve", "--data-dir", str(tmp_path / "data"))
    assert f"is set without {prefix}_key" in told
    assert not (tmp_path / "data").exists(), "nothing is begun"
