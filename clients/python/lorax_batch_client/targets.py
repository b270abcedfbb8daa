"""The replicas of a service: which one to talk to now."""

from lorax_batch_client.channel import check_target, split_targets


class Targets:
    """The replicas that a client was given, one of them in use. Calls stay with it until it can't be reached."""

    def __init__(self, text: str) -> None:
        self._all = split_targets(check_target(text))
        self._index = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def current(self) -> str:
        """The one in use."""
        return self._all[self._index]

    def move_on(self, failed: str) -> None:
        """Use the next one, unless another call has moved on already."""
        if failed == self.current:
            self._index = (self._index + 1) % len(self._all)
