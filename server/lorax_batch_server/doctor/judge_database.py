"""What the facts of a PostgreSQL mean for the service; pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from lorax_batch_scheduler.postgres.checkup import DatabaseFacts, TableFacts

from lorax_batch_server.doctor.finding import Finding, ok, warning, wrong

OLDEST_MAJOR: Final = 15
CONNECTIONS_A_PROCESS: Final = 15
"""Of the pool, the listener, and what a migration or a watch needs beside it."""
MAX_DEAD_SHARE: Final = 0.5
MIN_DEAD_ROWS: Final = 10_000
MAX_TRANSACTION_S: Final = 600.0
MAX_TRANSACTION_AGE: Final = 1_000_000_000
"""Half-way to where PostgreSQL stops taking writes."""
MAX_SKEW_S: Final = 5.0
DURABLE: Final = {"fsync": "on", "full_page_writes": "on"}
VERSION, RIGHTS, SETTINGS, SCHEMA, BLOAT, CLOCK = (
    f"database {name}" for name in ("version", "rights", "settings", "schema", "bloat", "clock")
)


def judge_database(facts: DatabaseFacts) -> Iterator[Finding]:
    """Yield what is found of each side of it."""
    yield _version(facts)
    yield from _rights(facts)
    if facts.schema_version is not None:
        yield _schema(facts, facts.schema_version)
    yield from _settings(facts)
    yield from _bloat(facts)


def judge_clock(theirs: datetime, before: datetime, after: datetime) -> Finding:
    """Compare the database's clock with this machine's, which showed `before` and `after` around the question."""
    skew_s = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    if skew_s <= MAX_SKEW_S:
        return ok(CLOCK, f"this machine's clock is the database's to within {max(skew_s, 0.1):.1f} s")
    return warning(
        CLOCK,
        f"this machine's clock is {skew_s:.0f} s off the database's",
        "run NTP (chrony, systemd-timesyncd) on both: deadlines and leases go by the database's clock, but logs, TLS "
        "and S3 signatures by this machine's",
    )


def _version(facts: DatabaseFacts) -> Finding:
    if facts.major < OLDEST_MAJOR:
        return wrong(VERSION, f"PostgreSQL {facts.version} is too old", f"upgrade it to {OLDEST_MAJOR} or newer")
    return ok(VERSION, f"PostgreSQL {facts.version}, {facts.size_bytes / 2**20:,.0f} MiB")


def _rights(facts: DatabaseFacts) -> Iterator[Finding]:
    if facts.standby or facts.read_only:
        why = "is a standby" if facts.standby else "has default_transaction_read_only = on"
        yield wrong(RIGHTS, f"it takes no writes: it {why}", "let database_url name the primary, or promote this one")
        return
    if not facts.schema:
        advice = f"CREATE SCHEMA lorax_batch AUTHORIZATION {facts.role}, and set the role's search_path to it"
        yield wrong(RIGHTS, f"role {facts.role} has no schema to use", advice)
        return
    unusable = [table.name for table in facts.tables if not table.usable]
    if unusable:
        shown = ", ".join(unusable[:5])
        yield wrong(
            RIGHTS,
            f"role {facts.role} may not read and change {len(unusable)} tables, {shown} among them",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {facts.schema} TO {facts.role}, "
            "or use the role that owns them",
        )
    elif not facts.may_create:
        advice = f"GRANT CREATE ON SCHEMA {facts.schema} TO {facts.role}; a new version brings new tables"
        level = warning if facts.schema_version == facts.shipped_version else wrong
        yield level(RIGHTS, f"role {facts.role} may not make tables in schema {facts.schema}", advice)
    else:
        yield ok(RIGHTS, f"role {facts.role} may use schema {facts.schema}")


def _schema(facts: DatabaseFacts, theirs: int) -> Finding:
    ours = facts.shipped_version
    if ours < theirs and facts.oldest_program <= ours:
        advice = "go on with the upgrade: start every process with the newer version"
        return warning(SCHEMA, f"it has schema {theirs} of a newer version; this program's {ours} can use it", advice)
    if ours < theirs:
        return wrong(
            SCHEMA,
            f"it has schema {theirs}, which is newer than this program's {ours}",
            "use the version of lorax-batch that the other processes have, or a newer one",
        )
    if not facts.migrated:
        return ok(SCHEMA, f"it has none yet; the first start makes schema {ours}")
    return ok(SCHEMA, f"schema {theirs}" if theirs == ours else f"schema {theirs}; the next start makes it {ours}")


def _settings(facts: DatabaseFacts) -> Iterator[Finding]:
    found = []
    for name, wanted in DURABLE.items():
        value = getattr(facts, name)
        if value != wanted:
            advice = f"set {name} = {wanted}: results are written exactly once only if commits are durable"
            found.append(wrong(SETTINGS, f"{name} is {value}", advice))
    if facts.synchronous_commit == "off":
        advice = "set synchronous_commit = on for this role: a crash of PostgreSQL loses results that callers have seen"
        found.append(wrong(SETTINGS, "synchronous_commit is off", advice))
    if facts.encoding != "UTF8":
        found.append(wrong(SETTINGS, f"its encoding is {facts.encoding}", "make a database with ENCODING 'UTF8'"))
    if facts.autovacuum != "on":
        found.append(warning(SETTINGS, "autovacuum is off", "set autovacuum = on: counters and leases change all day"))
    free = facts.max_connections - facts.connections
    if free < CONNECTIONS_A_PROCESS:
        advice = f"raise max_connections, or end others: each process of the service takes {CONNECTIONS_A_PROCESS}"
        found.append(warning(SETTINGS, f"{free} of its {facts.max_connections} connections are free", advice))
    yield from found or [ok(SETTINGS, f"durable; {free} of {facts.max_connections} connections are free")]


def _bloat(facts: DatabaseFacts) -> Iterator[Finding]:
    found = [_table(table) for table in facts.tables if _is_bloated(table)]
    if facts.oldest_transaction_s > MAX_TRANSACTION_S:
        advice = "find it in pg_stat_activity and end it: while it is open, vacuum removes nothing that came after it"
        found.append(warning(BLOAT, f"a transaction is open for {facts.oldest_transaction_s:,.0f} s", advice))
    if facts.transaction_age > MAX_TRANSACTION_AGE:
        advice = "VACUUM (FREEZE) the database: PostgreSQL stops taking writes at 2,000,000,000"
        found.append(warning(BLOAT, f"its oldest row is {facts.transaction_age:,} transactions old", advice))
    dead = sum(table.dead_rows for table in facts.tables)
    yield from found or [ok(BLOAT, f"{dead:,} dead rows in {len(facts.tables)} tables")]


def _is_bloated(table: TableFacts) -> bool:
    rows = table.live_rows + table.dead_rows
    return table.dead_rows >= MIN_DEAD_ROWS and table.dead_rows > MAX_DEAD_SHARE * rows


def _table(table: TableFacts) -> Finding:
    return warning(
        BLOAT,
        f"{table.dead_rows:,} of the rows of {table.name} are dead ({table.size_bytes / 2**20:,.0f} MiB)",
        f"VACUUM (ANALYZE) {table.name}; if it comes back, let autovacuum work more (autovacuum_vacuum_cost_limit)",
    )
