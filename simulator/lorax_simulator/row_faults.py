"""The faults that a row calls down on itself alone, before the engine sees it."""

from collections.abc import Callable

from lorax_simulator import errors
from lorax_simulator.errors import PlainTextError, RouterError
from lorax_simulator.faults import Faults

_ERRORS: dict[str, Callable[[], RouterError | PlainTextError]] = {
    "unavailable": errors.unavailable,
    "plain-text-413": errors.body_too_large,
    "plain-text-400": lambda: errors.broken_json("expected value at line 1 column 1"),
    "plain-text-422": lambda: errors.wrong_type("missing field `simulated` at line 1 column 1"),
    "template-error": lambda: errors.template_failed("invalid operation: simulated (in chat:1)"),
    "incomplete": errors.incomplete,
}
"""In the order in which the router would notice."""


class RowFaults:
    """Raises what a faulty row is answered with; remembers which flaky rows have had their failure."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._failed_once: set[bytes] = set()

    def check(self, body: bytes, names: frozenset[str]) -> None:
        """Raise the error of the first fault among `names`."""
        for name, error in _ERRORS.items():
            if name in names and self._faults.fire(name):
                raise error()
        if "flaky" in names and body not in self._failed_once and self._faults.fire("flaky"):
            self._failed_once.add(body)
            raise errors.incomplete()
