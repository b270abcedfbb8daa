"""Ids of jobs, datasets and webhooks."""

import secrets


def new_job_id() -> str:
    """Return `job_` and 24 characters: 96 random bits."""
    return f"job_{secrets.token_hex(12)}"


def new_dataset_id() -> str:
    """Return `ds_` and 24 characters: 96 random bits."""
    return f"ds_{secrets.token_hex(12)}"


def new_export_id() -> str:
    """Return `exp_` and 24 characters: 96 random bits."""
    return f"exp_{secrets.token_hex(12)}"


def new_webhook_id() -> str:
    """Return `wh_` and 24 characters: 96 random bits."""
    return f"wh_{secrets.token_hex(12)}"
