"""What was learned, in PostgreSQL."""

from collections.abc import Mapping

import msgspec

from lorax_batch_scheduler.estimates.learned import Learned, Subject, Topic
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresLearnedStore:
    """See `LearnedStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def learned(self, *, limit: int) -> dict[Subject, Learned]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.learned, [str(topic) for topic in Topic], limit)
        # Oldest first, as the book keeps them: what changed longest ago is forgotten first.
        fields = [dict(record) for record in reversed(records)]
        return {msgspec.convert(each, Subject): msgspec.convert(each, Learned) for each in fields}

    async def store_learned(self, learned: Mapping[Subject, Learned]) -> None:
        if not learned:
            return
        rows = (
            (
                str(about.topic),
                about.family,
                about.detail,
                known.mean,
                known.log_variance,
                known.weight,
                known.observations,
            )
            for about, known in learned.items()
        )
        async with self._database.connection() as connection:
            await connection.execute(SQL.store_learned, *map(list, zip(*rows, strict=True)))
