"""A page of a list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items of a list, and what to ask with for the next ones."""

    items: list[T]
    next_token: str
    """Empty on the last page."""
