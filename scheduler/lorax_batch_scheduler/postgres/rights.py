"""What our role must be allowed, looked at before a service begins: not found out by the first call that needs it."""

import re
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres.database import Connection
from lorax_batch_scheduler.postgres.migrations import shipped_migrations
from lorax_batch_scheduler.postgres.statements import SQL

_TABLE: Final = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (\w+)", re.MULTILINE)
_SHOWN: Final = 5


async def check_rights(connection: Connection) -> None:
    """Raise `ConfigurationError` when our role may not read and change every table: says what to grant."""
    tables = [name for migration in shipped_migrations() for name in _TABLE.findall(migration.sql)]
    found = await connection.fetchrow(SQL.lacking_rights, tables)
    assert found is not None
    lacking, role = found["tables"], found["role"]
    if lacking:
        raise ConfigurationError(
            f"role {role} of --database-url (LORAX_BATCH_DATABASE_URL) may not read and change {len(lacking)} of our "
            f"tables, {', '.join(lacking[:_SHOWN])} among them: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN "
            f"SCHEMA {found['schema']} TO {role}, or give the role that owns them"
        )
