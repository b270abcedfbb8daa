"""The loader of named statements."""

from pathlib import Path

import pytest
from lorax_batch_scheduler.postgres.queries import load_queries, parse_queries

TEXT = """
-- Statements of the store; text above the first header is for readers.

-- claim_chunks --
-- Gives up to $1 chunks to a scheduler.
SELECT 1
-- FOR UPDATE locks the rows that others skip
FROM chunks;

-- drop_all --
-- Never used. It has
-- two lines of purpose.
SELECT 2
"""


def test_statements_are_attributes_without_header_and_purpose() -> None:
    queries = parse_queries(TEXT)
    assert (
        queries.claim_chunks == "-- claim_chunks\nSELECT 1\n-- FOR UPDATE locks the rows that others skip\nFROM chunks"
    )
    assert queries.drop_all == "-- drop_all\nSELECT 2"
    assert dir(queries) == ["claim_chunks", "drop_all"]


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no statement '-- clam_chunks --'"):
        _ = parse_queries(TEXT).clam_chunks


def test_a_statement_without_purpose_is_an_error() -> None:
    with pytest.raises(ValueError, match="'bare' needs a comment"):
        parse_queries("-- bare --\nSELECT 1")


def test_a_purpose_without_statement_is_an_error() -> None:
    with pytest.raises(ValueError, match="'empty' needs a comment"):
        parse_queries("-- empty --\n-- Says why.\n")


def test_the_same_name_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="two statements 'same'"):
        parse_queries("-- same --\n-- A.\nSELECT 1\n-- same --\n-- B.\nSELECT 2")


def test_a_file_is_read_as_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "queries.sql"
    file.write_text("-- greet --\n-- Says hello.\nSELECT 'grüß dich'", encoding="utf-8")
    assert load_queries(file).greet.endswith("'grüß dich'")
