"""The embedded PostgreSQL runs as whoever may own its files."""

import os
import pwd
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError

from tests.integration.embedded_postgres.owner import (
    Owner,
    needs_root,
    python_for,
    run_sql,
    server_in,
)


@needs_root
async def test_below_a_closed_directory_root_keeps_the_files(state: Path) -> None:
    state.parent.chmod(0o700)
    server = server_in(state)
    try:
        dsn = await server.start()
    except ConfigurationError as error:
        if "user namespace" in str(error):
            pytest.skip("no user namespaces here")
        raise
    assert await run_sql(dsn, "SELECT 1") == 1
    await server.stop()
    assert (state / "cluster/data").stat().st_uid == 0
    assert state.parent.stat().st_mode & 0o777 == 0o700


@needs_root
async def test_an_ordinary_user_runs_it_and_may_not_write_elsewhere(state: Path) -> None:
    user = pwd.getpwnam("daemon").pw_uid
    python = python_for(user)
    if python is None:
        pytest.skip("an ordinary user can't reach any Python of this version, or not the virtual environment")
    os.chown(state.parent, user, -1)
    owner = await Owner(state, user=user, python=python).ready()
    assert "dsn" in owner.said, owner.said
    assert await run_sql(owner.said["dsn"], "SELECT 1") == 1
    assert await owner.end() == 0
    assert (state / "cluster/data").stat().st_uid == user

    os.chown(state.parent, 0, -1)
    refused = await Owner(state.parent / "other", user=user, python=python).ready()
    assert refused.said["error"] == "ConfigurationError"
    assert f"{state.parent}/other' as user 'daemon': Permission denied" in refused.said["message"]
    assert await refused.end() == 0


@needs_root
async def test_a_uid_without_a_name_runs_it_too(state: Path) -> None:
    """Some container platforms make the uid up; initdb insists on a name."""
    user = 54_321
    python = python_for(user)
    if python is None:
        pytest.skip("another user can't reach any Python of this version, or not the virtual environment")
    os.chown(state.parent, user, -1)
    owner = await Owner(state, user=user, python=python).ready()
    assert await owner.end() == 0
    if "user namespace" in owner.said.get("message", ""):
        pytest.skip("no user namespaces here")
    assert "dsn" in owner.said, owner.said
