"""Each migration behind the first release says whether programs of before can live with it."""

import re

import pytest
from lorax_batch_scheduler.postgres.migrations import Migration, shipped_migrations

FIRST_RELEASE = 14
"""The schema that 0.1.0 is to begin with: no program that knows less was ever released, so nothing lives beside one.

When 0.1.0 is tagged, this becomes the last migration that it ships, and never changes again.
"""
NO_OLDER_PROGRAM = re.compile(r"-- no older program: \S.{20,}\n")


def fault_of(migration: Migration) -> str:
    """Return what is wrong with what a migration says of older programs; empty: nothing."""
    if migration.oldest_program > migration.version or migration.oldest_program < 1:
        return "names a migration that is not before it"
    if "oldest program:" in migration.sql and migration.oldest_program == migration.version:
        return "has its `-- oldest program: NNNN` not as its first line, or names itself"
    if migration.version <= FIRST_RELEASE or migration.oldest_program < migration.version:
        return ""
    if NO_OLDER_PROGRAM.match(migration.sql):
        return ""
    return "begins neither with `-- oldest program: NNNN` nor with `-- no older program: REASON`"


def test_each_shipped_migration_says_which_programs_can_live_with_it() -> None:
    assert {f"{each.version:04}_{each.name}": fault for each in shipped_migrations() if (fault := fault_of(each))} == {}


@pytest.mark.parametrize(
    ("first_line", "fine"),
    [
        ("-- oldest program: 0014", True),
        ("-- oldest program: 0015", False),
        ("-- oldest program: 14", False),
        ("-- Adds a colour.\n-- oldest program: 0014", False),
        ("-- no older program: rows that older ones write would have no colour", True),
        ("-- no older program: because", False),
        ("-- Adds a colour.", False),
    ],
)
def test_a_migration_that_does_not_say_it_is_found(first_line: str, fine: bool) -> None:
    migration = Migration(version=FIRST_RELEASE + 1, name="colour", sql=f"{first_line}\nSELECT 1")
    assert (fault_of(migration) == "") is fine
