"""What the facts of a PostgreSQL mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from lorax_batch_scheduler.postgres.checkup import DatabaseFacts, TableFacts
from lorax_batch_server.doctor.finding import Finding, Verdict
from lorax_batch_server.doctor.judge_database import BLOAT, RIGHTS, SCHEMA, SETTINGS, judge_clock, judge_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WELL = DatabaseFacts(
    version="18.1", major=18, now=NOW, role="lorax", schema="public", may_create=True, standby=False, read_only=False,
    encoding="UTF8", fsync="on", full_page_writes="on", synchronous_commit="on", autovacuum="on", max_connections=100,
    connections=20, oldest_transaction_s=1.0, size_bytes=1 << 30, transaction_age=1_000, migrated=True,
    schema_version=6, shipped_version=6,
)  # fmt: skip


def table(name: str = "jobs", *, live: int = 100, dead: int = 0, usable: bool = True) -> TableFacts:
    return TableFacts(name=name, live_rows=live, dead_rows=dead, size_bytes=1 << 20, usable=usable)


def findings(**changes: Any) -> list[Finding]:
    return list(judge_database(msgspec.structs.replace(WELL, **changes)))


def test_a_good_database_is_told_so() -> None:
    found = findings(tables=[table()])
    assert {each.verdict for each in found} == {Verdict.OK}
    assert not any(each.advice for each in found)


CASES: list[tuple[dict[str, Any], str, Verdict, str]] = [
    ({"major": 14, "version": "14.2"}, "database version", Verdict.ERROR, "15 or newer"),
    ({"standby": True}, RIGHTS, Verdict.ERROR, "primary"),
    ({"read_only": True}, RIGHTS, Verdict.ERROR, "default_transaction_read_only"),
    ({"schema": ""}, RIGHTS, Verdict.ERROR, "CREATE SCHEMA"),
    ({"tables": [table(usable=False)]}, RIGHTS, Verdict.ERROR, "GRANT SELECT, INSERT, UPDATE, DELETE"),
    ({"may_create": False}, RIGHTS, Verdict.WARNING, "GRANT CREATE"),
    ({"may_create": False, "schema_version": 5}, RIGHTS, Verdict.ERROR, "GRANT CREATE"),
    ({"schema_version": 7, "oldest_program": 7}, SCHEMA, Verdict.ERROR, "newer"),
    ({"schema_version": 7, "oldest_program": 6}, SCHEMA, Verdict.WARNING, "can use it"),
    ({"schema_version": 5}, SCHEMA, Verdict.OK, "the next start makes it 6"),
    ({"migrated": False, "schema_version": 0}, SCHEMA, Verdict.OK, "the first start makes schema 6"),
    ({"fsync": "off"}, SETTINGS, Verdict.ERROR, "fsync = on"),
    ({"full_page_writes": "off"}, SETTINGS, Verdict.ERROR, "full_page_writes = on"),
    ({"synchronous_commit": "off"}, SETTINGS, Verdict.ERROR, "synchronous_commit = on"),
    ({"encoding": "SQL_ASCII"}, SETTINGS, Verdict.ERROR, "UTF8"),
    ({"autovacuum": "off"}, SETTINGS, Verdict.WARNING, "autovacuum = on"),
    ({"connections": 90}, SETTINGS, Verdict.WARNING, "max_connections"),
    ({"tables": [table(live=9_000, dead=11_000)]}, BLOAT, Verdict.WARNING, "VACUUM (ANALYZE) jobs"),
    ({"tables": [table(live=1, dead=9_999)]}, BLOAT, Verdict.OK, "9,999 dead rows"),
    ({"oldest_transaction_s": 3_600.0}, BLOAT, Verdict.WARNING, "pg_stat_activity"),
    ({"transaction_age": 1_500_000_000}, BLOAT, Verdict.WARNING, "FREEZE"),
]


@pytest.mark.parametrize(("changes", "check", "verdict", "said"), CASES)
def test_each_trouble_is_told_with_a_way_out(changes: dict[str, Any], check: str, verdict: Verdict, said: str) -> None:
    (found,) = [each for each in findings(**changes) if each.check == check]
    assert found.verdict is verdict
    assert said in f"{found.message} {found.advice}"
    assert bool(found.advice) is (verdict is not Verdict.OK)


@pytest.mark.parametrize(("off_s", "verdict"), [(0, Verdict.OK), (4, Verdict.OK), (60, Verdict.WARNING)])
@pytest.mark.parametrize("sign", [1, -1])
def test_clocks_are_compared_both_ways(off_s: int, verdict: Verdict, sign: int) -> None:
    after = NOW + timedelta(seconds=0.1)
    assert judge_clock(NOW + sign * timedelta(seconds=off_s), NOW, after).verdict is verdict


def test_a_slow_answer_is_no_skew() -> None:
    assert judge_clock(NOW + timedelta(seconds=20), NOW, NOW + timedelta(seconds=40)).verdict is Verdict.OK
