"""What a process of the service does."""

from enum import StrEnum


class Role(StrEnum):
    """One binary, three roles; PostgreSQL is the only coordinator among processes."""

    ALL = "all"
    API = "api"
    """Calls, watches and result streams."""
    SCHEDULER = "scheduler"
    """Takes datasets in, sends rows to its servers, and brings jobs to their end."""

    @property
    def serves_callers(self) -> bool:
        """Whether it offers BatchInference and Datasets."""
        return self is not Role.SCHEDULER

    @property
    def runs_jobs(self) -> bool:
        """Whether it ingests datasets, runs servers and ends jobs."""
        return self is not Role.API
