"""Which jobs a command is about, as options say it."""

from typing import TYPE_CHECKING

from lorax_batch_server.cli.options import parse_labels
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import JobFilter


def parse_job_filter(states: list[str], labels: list[str], dataset: str, base_model: str) -> "JobFilter":
    """Return the filter of `--state`, `--label`, `--dataset` and `--base-model`."""
    from lorax_batch_client import JobFilter, JobState

    known = {state.value: state for state in JobState if state is not JobState.UNKNOWN}
    for state in states:
        if state.lower() not in known:
            raise CommandError(f"--state: '{state}' is none of {', '.join(known)}")
    return JobFilter(
        states=tuple(known[state.lower()] for state in states),
        labels=parse_labels(labels),
        dataset_id=dataset,
        base_model=base_model,
    )
