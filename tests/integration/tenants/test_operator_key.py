"""The first operator's key comes from a file, or into one."""

import asyncio
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.tenant import ApiKey, Role
from lorax_batch_server.api_keys import new_secret, secret_sha256
from lorax_batch_server.operator_key import ensure_operator_key, warn_without_operators
from structlog.testing import capture_logs

from tests.integration.postgres.conftest import Stores


async def keys(stores: Stores) -> list[ApiKey]:
    return (await stores.access.list_keys(None, page_size=10, page_token="")).items


async def test_a_file_that_is_not_there_is_made_for_this_user_alone(stores: Stores, tmp_path: Path) -> None:
    file = tmp_path / "operator.key"
    await ensure_operator_key(stores.access, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    table = await stores.access.access_table()
    key = table.keys[secret_sha256(file.read_text().strip())]
    assert (key.tenant, key.role, key.expire_time) == ("default", Role.OPERATE, None)
    await ensure_operator_key(stores.access, file)
    assert await keys(stores) == [key]


async def test_processes_that_start_at_once_agree(stores: Stores, tmp_path: Path) -> None:
    file = tmp_path / "operator.key"
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(ensure_operator_key(stores.access, file))
    assert len(await keys(stores)) == 1


async def test_a_secret_of_ones_own_will_do_and_another_one_is_added(stores: Stores, tmp_path: Path) -> None:
    file = tmp_path / "operator.key"
    for secret in (new_secret(), "x" * 32):
        file.write_text(secret)
        await ensure_operator_key(stores.access, file)
        assert secret_sha256(secret) in (await stores.access.access_table()).keys
    assert len(await keys(stores)) == 2


async def test_a_revoked_key_does_not_come_back_with_the_next_start(stores: Stores, tmp_path: Path) -> None:
    file = tmp_path / "operator.key"
    await ensure_operator_key(stores.access, file)
    (key,) = await keys(stores)
    revoked = await stores.access.revoke_key(key.key_id)
    await ensure_operator_key(stores.access, file)
    assert await keys(stores) == [revoked]


async def test_it_is_said_when_nobody_could_make_a_key(stores: Stores, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with capture_logs() as said:
        await warn_without_operators(stores.access, now)
    assert [entry["event"] for entry in said] == ["no_operator_key"]
    await ensure_operator_key(stores.access, tmp_path / "operator.key")
    with capture_logs() as said:
        await warn_without_operators(stores.access, now)
    assert said == []


@pytest.mark.parametrize("content", [b"", b"short\n", b"two words" * 5, b"x" * 300, b"\xff" * 40])
async def test_a_file_without_a_key_is_refused(stores: Stores, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "operator.key"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"operator_key_file .*operator.key: "):
        await ensure_operator_key(stores.access, file)
    assert await keys(stores) == []


async def test_a_folder_that_is_not_there_is_named(stores: Stores, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"operator_key_file .*none/operator.key: No such file or directory"):
        await ensure_operator_key(stores.access, tmp_path / "none" / "operator.key")
