"""What is wrong with which field of a trace, in words."""

import difflib
import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.misfit import find_misfit
from lorax_batch_scheduler.replay.trace import Trace

SHOWN_CHARACTERS: Final = 60


def field_error(tree: dict[str, Any], error: msgspec.ValidationError) -> InvalidInputError:
    """Return the error for what msgspec says of `tree`, with the path of the field and its value."""
    misfit = find_misfit(tree, Trace, error)
    field = f"trace.{misfit.path}" if misfit.path else "trace"
    if not misfit.problem:
        return InvalidInputError(field, f"is no field of a trace{near(str(misfit.steps[-1]), misfit.known)}")
    if misfit.problem == "is missing":
        return InvalidInputError(field, misfit.problem)
    return InvalidInputError(field, f"{_shown(misfit.value)} is wrong: {misfit.problem}")


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like this one, else at all of them."""
    names = sorted(known)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if found:
        return f"; did you mean '{found[0]}'?"
    return f"; known are: {', '.join(names[:20])}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
