"""The switches that make the server misbehave: a closed list of kinds, set by flag or at run time."""

import enum
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lorax_simulator.rubbish import RUBBISH


class Argument(enum.Enum):
    """What the text after `=` means."""

    NONE = ""
    TEXT = "TEXT"
    PATTERN = "REGEX"
    COUNT = "N"
    OPTIONAL_COUNT = "[N]"
    SECONDS = "SECONDS"
    KEYS = "KEY,KEY"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One way to misbehave."""

    name: str
    argument: Argument
    help: str


_ROW = "rows whose body contains TEXT (default: the marker fault:NAME; empty: every row)"
_ADAPTER = "adapters whose id matches REGEX (default: all)"

FAULT_KINDS = {
    kind.name: kind
    for kind in (
        FaultKind("plain-text-400", Argument.TEXT, f"400 as for broken JSON, for {_ROW}"),
        FaultKind("plain-text-413", Argument.TEXT, f"413 as for a too large body, for {_ROW}"),
        FaultKind("plain-text-422", Argument.TEXT, f"422 as for a wrong type, for {_ROW}"),
        FaultKind("template-error", Argument.TEXT, f"422 template_error for {_ROW}"),
        FaultKind("incomplete", Argument.TEXT, f"500 incomplete_generation for {_ROW}"),
        FaultKind("flaky", Argument.TEXT, f"500 the first time each body is sent, then answered, for {_ROW}"),
        FaultKind("poison", Argument.TEXT, f"424 for the whole batch that holds one of the {_ROW}"),
        FaultKind("unavailable", Argument.TEXT, f"503 as from a proxy without a server, for {_ROW}"),
        FaultKind("reset", Argument.TEXT, f"reset the connection of {_ROW}"),
        FaultKind("hang", Argument.TEXT, f"never answer {_ROW}"),
        FaultKind("adapter-not-found", Argument.PATTERN, f"hub 404 as 424 for {_ADAPTER}"),
        FaultKind("adapter-incompatible", Argument.PATTERN, f"another base model, 424, for {_ADAPTER}"),
        FaultKind("adapter-invalid", Argument.PATTERN, f"no adapter config, 424, for {_ADAPTER}"),
        FaultKind("adapter-too-large", Argument.PATTERN, f"larger than the reservation, 424, for {_ADAPTER}"),
        FaultKind("adapter-flaky", Argument.PATTERN, f"the first download times out, 424, for {_ADAPTER}"),
        FaultKind("adapter-poison", Argument.PATTERN, f"424 for the whole batch that holds a row of {_ADAPTER}"),
        FaultKind("adapter-slow", Argument.PATTERN, f"downloads take 60 s for {_ADAPTER}"),
        FaultKind("no-dynamic-adapters", Argument.NONE, "every adapter fails: memory for adapters is 0"),
        FaultKind("low-permits", Argument.COUNT, "only N permits: more rows get 429 at once"),
        FaultKind("batch-failure", Argument.COUNT, "the next N prefills fail with all running rows"),
        FaultKind("oom", Argument.COUNT, "CUDA out of memory when more than N rows would run"),
        FaultKind("cuda-assert", Argument.NONE, "every batch fails until the next restart"),
        FaultKind("router-abort", Argument.COUNT, "all connections reset after each N answers, then a cold start"),
        FaultKind("shard-crash", Argument.COUNT, "as router-abort, but running rows get 424 transport error first"),
        FaultKind("prefill-abort", Argument.NONE, "a failed prefill beside a decoding batch aborts the router"),
        FaultKind("disconnect-abort", Argument.NONE, "a failing adapter's row that hung up aborts the router"),
        FaultKind("leaky-blocks", Argument.NONE, "rows put back from a too small batch keep their blocks: may wedge"),
        FaultKind("wedge", Argument.OPTIONAL_COUNT, "admit nothing (after N answers, until all waiting rows hung up)"),
        FaultKind("slow-health", Argument.SECONDS, "/health answers that much later (model time)"),
        FaultKind("health-green", Argument.NONE, "/health answers 200 whatever is the matter"),
        FaultKind("health-overloaded", Argument.NONE, "/health answers 500 overloaded"),
        FaultKind("leading-space", Argument.NONE, "generated text starts with a space"),
        FaultKind("missing-keys", Argument.KEYS, "leave these top-level keys out of answers"),
        *(FaultKind(name, Argument.TEXT, f"{rubbish.help}, for {_ROW}") for name, rubbish in RUBBISH.items()),
    )
}


class FaultError(ValueError):
    """A fault switch that cannot be understood; the message says what can."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One switched-on fault; `value` is None when its argument was left out."""

    kind: FaultKind
    value: str | None

    @property
    def number(self) -> float:
        """The argument as a number."""
        return float(self.value or 0)

    def __str__(self) -> str:
        return self.kind.name if self.value is None else f"{self.kind.name}={self.value}"


def parse_fault(text: str) -> Fault:
    """Read `KIND` or `KIND=ARGUMENT`.

    Raises FaultError for an unknown kind, or an argument that is missing, unwanted or not of its form.
    """
    name, equals, argument = text.partition("=")
    kind = FAULT_KINDS.get(name)
    if kind is None:
        raise FaultError(f"unknown fault {name!r}; the faults are: {', '.join(sorted(FAULT_KINDS))}")
    value = argument if equals else None
    problem = _problem(kind, value)
    if problem:
        raise FaultError(f"fault {text!r}: {problem}; write {_usage(kind)}")
    return Fault(kind, value)


def _usage(kind: FaultKind) -> str:
    return kind.name if kind.argument is Argument.NONE else f"{kind.name}={kind.argument.value}"


def _problem(kind: FaultKind, value: str | None) -> str | None:
    match kind.argument:
        case Argument.NONE:
            return None if value is None else "it takes no argument"
        case Argument.TEXT:
            return None
        case Argument.PATTERN:
            return _pattern_problem(value or "")
        case Argument.COUNT | Argument.OPTIONAL_COUNT:
            if value is None:
                return None if kind.argument is Argument.OPTIONAL_COUNT else "it needs a number"
            return None if value.isdecimal() else f"{value!r} is not a whole number"
        case Argument.SECONDS:
            is_number = value is not None and re.fullmatch(r"\d+(\.\d+)?", value)
            return None if is_number else f"{value!r} is not a number of seconds"
        case Argument.KEYS:
            return None if value else "it needs the names of keys"


def _pattern_problem(value: str) -> str | None:
    try:
        re.compile(value)
    except re.error as error:
        return f"{value!r} is not a regular expression ({error})"
    return None


class Faults:
    """The faults that are switched on now; what the engine and the endpoints ask before they behave."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._on: dict[str, list[Fault]] = {}
        self._row_markers: list[tuple[str, bytes]] = []
        self._spent: dict[str, int] = {}
        self.fired: Counter[str] = Counter()
        """How often each kind did its harm, whether it is still on or not."""
        for fault in faults:
            self.switch_on(fault)

    def __contains__(self, name: str) -> bool:
        return name in self._on

    def switch_on(self, fault: Fault) -> None:
        """Add the fault; a counted one of the same kind is replaced."""
        name = fault.kind.name
        if fault.kind.argument in (Argument.TEXT, Argument.PATTERN):
            self._on.setdefault(name, []).append(fault)
        else:
            self._on[name] = [fault]
        self._spent.pop(name, None)
        self._index()

    def switch_off(self, name: str) -> bool:
        """Remove all faults of that kind; return whether there was one."""
        found = self._on.pop(name, None) is not None
        self._index()
        return found

    def clear(self) -> None:
        """Behave well from now on."""
        self._on.clear()
        self._spent.clear()
        self._index()

    def listing(self) -> list[str]:
        """Return the faults as they would be written on the command line."""
        return [str(fault) for faults in self._on.values() for fault in faults]

    def fire(self, name: str) -> bool:
        """Return whether that fault is on; if so, count that it did its harm."""
        if name not in self._on:
            return False
        self.fired[name] += 1
        return True

    def of_row(self, body: bytes) -> frozenset[str]:
        """Return the names of the row-level faults that a request body calls for."""
        if not self._row_markers:
            return frozenset()
        return frozenset(name for name, marker in self._row_markers if marker in body)

    def hits_adapter(self, name: str, adapter_id: str) -> bool:
        """Return whether the adapter-level fault `name` is meant for this adapter."""
        return any(re.search(fault.value or "", adapter_id) for fault in self._on.get(name, ()))

    def fire_on_adapter(self, name: str, adapter_id: str) -> bool:
        """As `fire`, for an adapter."""
        return self.hits_adapter(name, adapter_id) and self.fire(name)

    def number(self, name: str) -> float | None:
        """Return the number given with the fault, or None when it is off or was given none."""
        faults = self._on.get(name)
        return faults[0].number if faults and faults[0].value is not None else None

    def keys(self, name: str) -> frozenset[str]:
        """Return the key names given with the fault."""
        return frozenset(key for fault in self._on.get(name, ()) for key in (fault.value or "").split(","))

    def spend(self, name: str) -> bool:
        """Use the fault up by one; return False when it is off or its count is spent."""
        count = self.number(name)
        if count is None:
            return False
        spent = self._spent.get(name, 0) + 1
        self._spent[name] = spent
        if spent <= count:
            self.fired[name] += 1
        if spent >= count:
            self.switch_off(name)
        return spent <= count

    def _index(self) -> None:
        self._row_markers = [
            (name, (f"fault:{name}" if fault.value is None else fault.value).encode())
            for name, faults in self._on.items()
            for fault in faults
            if fault.kind.argument is Argument.TEXT
        ]
