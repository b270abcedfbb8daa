"""The faults that a row calls down on itself alone, before the engine sees it."""

from lorax_simulator import errors


class RowFaults:
    """Raises what a faulty row is answered with; remembers which flaky rows have had their failure."""

    def __init__(self) -> None:
        self._failed_once: set[bytes] = set()

    def check(self, body: bytes, names: frozenset[str]) -> None:
        """Raise the error of the first fault among `names`, in the order in which the router would notice."""
        if "plain-text-413" in names:
            raise errors.body_too_large()
        if "plain-text-400" in names:
            raise errors.broken_json("expected value at line 1 column 1")
        if "plain-text-422" in names:
            raise errors.wrong_type("missing field `simulated` at line 1 column 1")
        if "template-error" in names:
            raise errors.template_failed("invalid operation: simulated (in chat:1)")
        if "incomplete" in names:
            raise errors.incomplete()
        if "flaky" in names and body not in self._failed_once:
            self._failed_once.add(body)
            raise errors.incomplete()
