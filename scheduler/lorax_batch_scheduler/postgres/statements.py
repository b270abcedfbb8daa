"""The statements of `queries.sql`, loaded once."""

from lorax_batch_scheduler.postgres.queries import load_queries

SQL = load_queries()
