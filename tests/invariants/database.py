"""What must hold of a service's database at any moment: while it works, after it was killed, after it stopped."""

from itertools import chain

from tests.invariants.chunk_rows import chunk_problems
from tests.invariants.dataset_rows import dataset_problems
from tests.invariants.event_rows import event_problems
from tests.invariants.job_rows import file_problems, job_problems
from tests.invariants.remains_rows import remains_problems
from tests.invariants.segment_rows import offset_problems, text_problems
from tests.invariants.snapshot import read_snapshot

_SHOWN = 20


async def database_problems(dsn: str, *, invented_results: bool = False) -> list[str]:
    """Return what is wrong with a database, a sentence each.

    `invented_results`: a test wrote results and files itself, so what they say is not looked at.
    """
    snapshot = await read_snapshot(dsn)
    problems = [
        dataset_problems(snapshot),
        job_problems(snapshot),
        chunk_problems(snapshot),
        offset_problems(snapshot),
        event_problems(snapshot),
        remains_problems(snapshot),
    ]
    if not invented_results:
        problems += [file_problems(snapshot), text_problems(snapshot)]
    return list(chain.from_iterable(problems))


async def check_database(dsn: str, *, invented_results: bool = False) -> None:
    """Fail with everything that is wrong with a database; see `database_problems`."""
    problems = await database_problems(dsn, invented_results=invented_results)
    assert not problems, f"{len(problems)} broken invariants:\n" + "\n".join(problems[:_SHOWN])
