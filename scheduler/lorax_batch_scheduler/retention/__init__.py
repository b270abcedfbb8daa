"""What is kept for how long, and what deletes it then. Everything here goes by the database's clock."""

from lorax_batch_scheduler.retention.policy import KEEP_ALL, RetentionPolicy

__all__ = ["KEEP_ALL", "RetentionPolicy"]
