"""`lorax-batch tenants` and `keys`, and the key that every command sends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from lorax_batch_server.cli.application import application
from lorax_batch_server.cli.exit_code import ExitCode
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.integration.cli.conftest import Ended
from tests.integration.tenants.conftest import Shared

Command = Callable[..., Awaitable[Ended]]


def secret_of(shared: Shared, name: str) -> str:
    return shared.keys[name][0][1].removeprefix("Bearer ")


@pytest.fixture
def command(keyed: Shared) -> Command:
    """Run a command as the operator, or with another environment, on a thread of its own."""

    async def run(*arguments: str, **environment: str) -> Ended:
        variables = environment or {"LORAX_BATCH_API_KEY": secret_of(keyed, "operator")}
        variables["LORAX_BATCH_TARGET"] = str(keyed.api.address)
        with capture_logs():  # the service's, which runs in this process: they would go to the command's output
            result = await asyncio.to_thread(CliRunner().invoke, application, arguments, env=variables)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)

    return run


async def test_a_tenant_is_made_shown_and_changed(command: Command) -> None:
    made = await command("tenants", "create", "initech", "--queued-jobs", "3", "--share-weight", "2", "--json")
    assert made.objects[0]["quotas"] == {
        "queued_jobs": 3, "queued_tokens": None, "dataset_rows": None, "stored_bytes": None, "requests_per_second": None
    }  # fmt: skip
    changed = await command("tenants", "update", "initech", "--queued-jobs", "none", "--stored-bytes", "1_000")
    assert "stored bytes    0 of 1,000" in changed.stdout
    assert "jobs not ended  0\n" in changed.stdout
    listed = await command("tenants", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "TENANT", "initech", "globex", "acme", "default"
    ]  # fmt: skip
    assert (await command("tenants", "get", "--json")).objects[0]["tenant"] == "default"


async def test_a_tenant_is_disabled_enabled_and_deleted(command: Command) -> None:
    assert "state           disabled" in (await command("tenants", "update", "acme", "--disable")).stdout
    assert "state           active" in (await command("tenants", "update", "acme", "--enable")).stdout
    asked = await command("tenants", "delete", "acme")
    assert "Delete 'acme', cancel its 0 unfinished jobs, delete 0 bytes?" in asked.stderr
    assert asked.exit_code != 0
    assert "state           being deleted" in (await command("tenants", "delete", "acme", "--yes")).stdout
    refused = await command("tenants", "update", "acme", "--enable")
    assert "tenant 'acme' is being deleted, but must be merely disabled" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tenants", "create", "acme"), "there is a tenant 'acme' already: update it, or choose another name"),
        (("tenants", "create", "x", "--queued-jobs", "0"), "tenant.quotas.queued_jobs: 0 would allow nothing"),
        (("tenants", "create", "x", "--dataset-rows", "many"), "--dataset-rows: 'many' is neither a whole number nor"),
        (("tenants", "create", "x", "--share-weight", "0"), "--share-weight: 0 is not above 0"),
        (("tenants", "update", "acme"), "nothing to change: give a quota, --share-weight, --enable or"),
        (("tenants", "update", "default", "--disable"), "tenant.disabled: 'default' has the operator's key"),
        (("tenants", "delete", "default", "--yes"), "tenant: 'default' has the operator's key"),
        (("tenants", "update", "none", "--queued-jobs", "1"), "no tenant 'none'"),
        (("keys", "create", "--tenant", "none"), "no tenant 'none'"),
        (("keys", "create", "--expires", "2020-01-01T00:00:00Z"), "key.expire_time: 2020-01-01T00:00:00+00:00 is not"),
        (("keys", "create", "--expires", "soon"), "--expires: 'soon' is neither a time from now (24h"),
        (("keys", "revoke", "key_9"), "no key 'key_9'"),
    ],
)
async def test_what_can_not_be_is_said_in_a_line(command: Command, arguments: tuple[str, ...], message: str) -> None:
    ended = await command(*arguments)
    assert ended.exit_code == ExitCode.BAD_INPUT
    assert ended.stderr.startswith(f"lorax-batch: {message}")
    assert ended.stderr.count("\n") == 1


async def test_an_unknown_role_is_named_with_the_choices(command: Command) -> None:
    ended = await command("keys", "create", "--role", "admin")
    assert ended.exit_code == ExitCode.BAD_INPUT
    assert "'admin' is not one of 'read', 'submit', 'operate'" in ended.stderr


async def test_a_secret_goes_alone_to_standard_output(command: Command, tmp_path: Path) -> None:
    made = await command("keys", "create", "--tenant", "acme", "--role", "read", "--expires", "90d", "--name", "ci")
    assert "a key of the tenant acme with the role read, until " in made.stderr
    file = tmp_path / "ci.key"
    file.write_text(made.stdout)
    listed = await command("jobs", "list", "--json", LORAX_BATCH_API_KEY_FILE=str(file))
    assert (listed.exit_code, listed.stdout) == (0, "")
    keys = (await command("keys", "list", "--tenant", "acme", "--json")).objects
    assert (keys[0]["name"], keys[0]["role"]) == ("ci", "read")
    assert made.stdout.strip() not in json.dumps(keys)
    revoked = await command("keys", "revoke", keys[0]["key_id"])
    assert "is revoked at" in revoked.stdout
    states = (await command("keys", "list")).stdout
    assert "revoked at" in states
    assert "expired at" in states
    assert "good" in states


async def test_options_go_before_variables_and_a_key_before_a_file(
    command: Command, keyed: Shared, tmp_path: Path
) -> None:
    file = tmp_path / "acme.key"
    file.write_text(secret_of(keyed, "acme read") + "\n")
    mine = ("tenants", "get", "--json")
    operator = secret_of(keyed, "operator")
    for arguments, environment, tenant in (
        ((), {"LORAX_BATCH_API_KEY": operator}, "default"),
        (("--api-key-file", str(file)), {"LORAX_BATCH_API_KEY": operator}, "acme"),
        (("--api-key", operator, "--api-key-file", str(file)), {}, "default"),
        ((), {"LORAX_BATCH_API_KEY": operator, "LORAX_BATCH_API_KEY_FILE": str(file)}, "default"),
        ((), {"LORAX_BATCH_API_KEY_FILE": str(file)}, "acme"),
    ):
        ended = await command(*mine, *arguments, **environment)
        assert ended.objects[0]["tenant"] == tenant


async def test_a_key_that_can_not_be_read_is_said_with_its_file(command: Command, tmp_path: Path) -> None:
    ended = await command("jobs", "list", "--api-key-file", str(tmp_path / "none"))
    assert "--api-key-file: " in ended.stderr
    assert "can't be read: No such file or directory" in ended.stderr
    for content, told in (("x" * 1_001, "holds more than 1000 characters"), ("ä", "holds more than a key")):
        (tmp_path / "odd").write_text(content)
        ended = await command("jobs", "list", "--api-key-file", str(tmp_path / "odd"))
        assert told in ended.stderr
    ended = await command("jobs", "list", "--api-key-file", "a\0b")
    assert "--api-key-file: holds a NUL character" in ended.stderr
    ended = await command("jobs", "list", "--api-key", "a b")
    assert "the API key holds characters that no key has" in ended.stderr
    ended = await command("jobs", "list", LORAX_BATCH_API_KEY="")
    assert ended.exit_code == ExitCode.BAD_INPUT
    assert "the call has no API key: send `authorization: Bearer KEY`" in ended.stderr
