"""The settings of what is kept for how long."""

from datetime import timedelta

from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.retention.policy import COMPACT_AFTER
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings


class RetentionSettings(BaseSettings):
    """Each may be `off`."""

    retention_jobs_days: float | None = Field(
        default=30.0, gt=0, le=36_500,
        description="how long ended jobs are kept with their results and files; off: for ever",
    )  # fmt: skip
    retention_datasets_days: float | None = Field(
        default=30.0, gt=0, le=36_500,
        description="how long datasets are kept that no unfinished job needs, from their last use; off: for ever",
    )  # fmt: skip
    retention_events_days: float | None = Field(
        default=7.0, gt=0, le=36_500,
        description="how long state changes are kept for watches to go on from; off: for ever",
    )  # fmt: skip
    retention_segments_s: float | None = Field(
        default=COMPACT_AFTER.total_seconds(), ge=0, le=31_536_000,
        description="how long PostgreSQL keeps the results of ended jobs beside the files that hold the same; off: as "
        "long as the job",
    )  # fmt: skip

    @field_validator(
        "retention_jobs_days", "retention_datasets_days", "retention_events_days", "retention_segments_s", mode="before"
    )
    @classmethod
    def _read_off(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "off" else value

    @property
    def retention(self) -> RetentionPolicy:
        """What is kept for how long."""
        return RetentionPolicy(
            jobs=_span(days=self.retention_jobs_days),
            datasets=_span(days=self.retention_datasets_days),
            events=_span(days=self.retention_events_days),
            segments=_span(seconds=self.retention_segments_s),
        )


def _span(**length: float | None) -> timedelta | None:
    """Return a time span of one unit; None stays None."""
    ((unit, value),) = length.items()
    return None if value is None else timedelta(**{unit: value})
