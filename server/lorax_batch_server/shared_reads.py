"""Reads of the store that many callers share, so that a storm of polls is one statement after the other."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


@dataclass(slots=True, eq=False)
class _Batch(Generic[KeyT, ValueT]):
    """What is read together."""

    keys: dict[KeyT, None] = field(default_factory=dict)
    values: Mapping[KeyT, ValueT] | None = None
    """None behind `over`: it was given up."""
    error: Exception | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class SharedReads(Generic[KeyT, ValueT]):
    """One read at a time; who asks while it goes on is answered, with all others, by the next one.

    So an answer is never older than its call, and callers, however many, never take more than one connection from
    those who run rows.
    """

    def __init__(self, read: Callable[[Sequence[KeyT]], Awaitable[Mapping[KeyT, ValueT]]]) -> None:
        self._read = read
        self._next = _Batch[KeyT, ValueT]()
        self._turn = asyncio.Lock()

    async def get(self, key: KeyT) -> ValueT | None:
        """Return the value as it is now; None: there is none. Raises what the read raises."""
        while True:
            batch = self._next
            leads = not batch.keys
            batch.keys[key] = None
            if leads:
                await self._lead(batch)
            else:
                await batch.over.wait()
            if batch.error is not None:
                raise batch.error
            if batch.values is not None:
                return batch.values.get(key)

    async def _lead(self, batch: _Batch[KeyT, ValueT]) -> None:
        """Read for all of a batch; when this caller goes away, the others begin again among themselves."""
        try:
            async with self._turn:
                self._next = _Batch()
                batch.values = await self._read(list(batch.keys))
        except Exception as error:
            batch.error = error  # each caller raises it
        finally:
            if self._next is batch:
                self._next = _Batch()
            batch.over.set()
