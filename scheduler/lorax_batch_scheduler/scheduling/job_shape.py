"""What the rows of jobs look like together, for a server that is to serve them all."""

from collections.abc import Iterable

from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.scheduling.job_book import KnownJob


def shape_of(jobs: Iterable[KnownJob]) -> DataShape:
    """Return the largest of everything over jobs of one family."""
    every = list(jobs)
    lengths = [known.lengths for known in every if known.lengths is not None]
    return DataShape(
        longest_prompt_tokens=max((each.longest_prompt_tokens for each in lengths), default=0),
        largest_max_tokens=max(
            *(known.job.default_max_tokens for known in every), *(each.largest_max_tokens for each in lengths), 0, 0
        ),
        adapters=len({rows.adapter for known in every for rows in known.left.values() if rows.adapter}),
    )
