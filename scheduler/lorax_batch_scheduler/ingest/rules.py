"""Rules for one field of a request: each takes a value and returns it normalised, or raises `InvalidRowError`."""

from collections.abc import Callable, Mapping
from typing import Final

from lorax_batch_scheduler.ingest.fault import Code, InvalidRowError, shown

Rule = Callable[[object, str], object]
"""(value, its path) -> the value to send, or `DROP`. Null values never reach a rule: they are dropped before."""

DROP: Final = object()
"""What a rule returns for a field that must not be sent."""

MAX_FLOAT: Final = 3.4028234663852886e38
"""LoRAX reads numbers as 32-bit floats."""
MAX_SEED: Final = 2**64 - 1
MAX_INT32: Final = 2**31 - 1


def wrong_type(value: object, param: str, expected: str) -> InvalidRowError:
    """Return the error for a value of another JSON type."""
    return InvalidRowError(Code.INVALID_TYPE, param, f"'{param}' must be {expected}, not {shown(value)}")


def number(*, at_least: float | None = None, above: float | None = None, at_most: float = MAX_FLOAT) -> Rule:
    """Return a rule for floats."""
    low = f"at least {at_least:g}" if at_least is not None else f"greater than {above:g}"
    both = f"{low} and at most {at_most:g}"

    def check(value: object, param: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(value, param, "a number")
        too_low = (at_least is not None and value < at_least) or (above is not None and value <= above)
        if too_low or value > at_most:
            # That 32 bits hold no more matters only to whom it concerns.
            bounds = low if too_low and at_most == MAX_FLOAT else both
            raise InvalidRowError(Code.INVALID_VALUE, param, f"'{param}' is {shown(value)}, but must be {bounds}")
        return float(value)

    return check


def integer(*, at_least: int, at_most: int, way_out: str = "") -> Rule:
    """Return a rule for integers; 3.0 is one."""

    def check(value: object, param: str) -> int:
        whole = as_integer(value, param)
        if not at_least <= whole <= at_most:
            message = f"'{param}' is {shown(value)}, but must be from {at_least} to {at_most}{way_out}"
            raise InvalidRowError(Code.INVALID_VALUE, param, message)
        return whole

    return check


def as_integer(value: object, param: str) -> int:
    """Return an integer, also when it is written as 3.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(value, param, "an integer")
    return value


def boolean(value: object, param: str) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise wrong_type(value, param, "true or false")
    return value


def text(value: object, param: str) -> str:
    """Take any string."""
    if not isinstance(value, str):
        raise wrong_type(value, param, "a string")
    return value


def non_empty_text(value: object, param: str) -> str:
    """Take a string of at least one character."""
    if not text(value, param):
        raise InvalidRowError(Code.INVALID_VALUE, param, f"'{param}' is empty, but must have at least one character")
    return str(value)


def one_of(*values: str) -> Rule:
    """Return a rule for a closed set of strings."""

    def check(value: object, param: str) -> str:
        if text(value, param) not in values:
            message = f"'{param}' is {shown(value)}, but must be one of {', '.join(values)}"
            raise InvalidRowError(Code.INVALID_VALUE, param, message)
        return str(value)

    return check


def strings(*, at_most: int) -> Rule:
    """Return a rule for lists of non-empty strings; a bare string is a list of one, an empty list is dropped."""

    def check(value: object, param: str) -> object:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            raise wrong_type(value, param, "a string or a list of strings")
        if len(items) > at_most:
            message = f"'{param}' has {len(items)} entries; LoRAX takes at most {at_most}"
            raise InvalidRowError(Code.INVALID_VALUE, param, message)
        return [non_empty_text(item, f"{param}[{index}]") for index, item in enumerate(items)] or DROP

    return check


def dropped(_value: object, _param: str) -> object:
    """Drop the field: it has no influence on the answer."""
    return DROP


def streaming(value: object, param: str) -> object:
    """Drop `stream: false`, refuse true."""
    if boolean(value, param):
        message = f"'{param}' is true, but results of a batch are not streamed: leave it out"
        raise InvalidRowError(Code.STREAMING_UNSUPPORTED, param, message)
    return DROP


def refused(way_out: str, *harmless: object) -> Rule:
    """Return a rule that drops the harmless values and refuses all others, for fields that LoRAX ignores."""

    def check(value: object, param: str) -> object:
        if any(type(value) is type(allowed) and value == allowed for allowed in harmless):
            return DROP
        raise InvalidRowError(Code.UNSUPPORTED_PARAMETER, param, f"'{param}' is not supported by LoRAX: {way_out}")

    return check


def apply_rules(rules: Mapping[str, Rule], given: dict[str, object], path: str) -> dict[str, object]:
    """Return the fields to send, in the order of the rules. Raises `InvalidRowError` for what is not in the rules."""
    for name, value in given.items():
        if name not in rules and value is not None:
            param = f"{path}.{name}"
            message = f"'{param}' is unknown to LoRAX, which would ignore it silently: leave it out"
            raise InvalidRowError(Code.UNKNOWN_PARAMETER, param, message)
    kept: dict[str, object] = {}
    for name, rule in rules.items():
        value = given.get(name)
        if value is not None and (value := rule(value, f"{path}.{name}")) is not DROP:
            kept[name] = value
    return kept


def need(given: dict[str, object], name: str, path: str, way_out: str = "") -> object:
    """Return a field that must be there and not null."""
    value = given.get(name)
    if value is None:
        param = f"{path}.{name}" if path else name
        raise InvalidRowError(Code.MISSING_PARAMETER, param, f"'{param}' is missing{way_out}")
    return value
