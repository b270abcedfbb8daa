"""Secrets at rest: sealed with keys that the operator holds, and bound to the row that they belong to."""
