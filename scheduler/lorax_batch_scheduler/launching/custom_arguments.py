"""The caller's own arguments for the LoRAX launcher: read, and checked before anything is started with them."""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.launching.model_match import model_matches

SWITCHES: Final = frozenset(
    "--" + name
    for name in (
        "compile", "disable-custom-kernels", "disable-sgmv", "download-only", "eager", "env", "help", "json-output",
        "merge-adapter-weights", "ngrok", "trust-remote-code", "version",
    )
)  # fmt: skip
"""Flags that stand alone; all others, `--eager-prefill` too, have a value."""
REPEATABLE: Final = frozenset(
    ("--preloaded-adapter-ids", "--cors-allow-origin", "--cors-allow-header", "--cors-expose-header",
     "--cors-allow-method")
)  # fmt: skip
MODEL_ID: Final = "--model-id"
_ADDRESS: Final = "the service gives each of its servers an address of its own"
_ENDS: Final = "the launcher would end at once"
_IN_THE_OPEN: Final = "arguments are shown to whoever sees the job: give tokens as the job's own"
_REFUSED: Final = {
    "--hostname": _ADDRESS,
    "--port": _ADDRESS,
    "--shard-uds-path": _ADDRESS,
    "--master-addr": _ADDRESS,
    "--master-port": _ADDRESS,
    "--cuda-memory-fraction": "slots may share a GPU, and the service keeps each server to its share",
    "--download-only": _ENDS,
    "--help": _ENDS,
    "--version": _ENDS,
    "--predibase-api-token": _IN_THE_OPEN,
    "--ngrok-authtoken": _IN_THE_OPEN,
}
COUNTS: Final = frozenset(
    ("--max-total-tokens", "--max-input-length", "--max-batch-prefill-tokens", "--max-batch-total-tokens",
     "--max-concurrent-requests", "--max-active-adapters", "--num-shard", "--validation-workers")
)  # fmt: skip
_AT_LEAST_TWO: Final = frozenset(("--max-total-tokens", "--max-batch-total-tokens"))
LARGEST_COUNT: Final = 2**31 - 1
FRACTIONS: Final = frozenset(("--adapter-memory-fraction", "--memory-wiggle-room"))
BOOLEANS: Final = frozenset(("--eager-prefill", "--chunked-prefill", "--prefix-caching", "--sharded"))
EXCLUSIVE: Final = (("--compile", "--eager"), ("--dtype", "--quantize"))
"""Flags that the launcher does not take together."""
SMALLER: Final = (
    ("--max-input-length", "--max-total-tokens", "less than"),
    ("--max-input-length", "--max-batch-total-tokens", "less than"),
    ("--max-input-length", "--max-batch-prefill-tokens", "at most"),
    ("--max-total-tokens", "--max-batch-total-tokens", "at most"),
    ("--max-batch-prefill-tokens", "--max-batch-total-tokens", "at most"),
)
"""Without these orders the launcher, or its router, does not start."""
_NOT_WHEN_CHUNKED: Final = ("--max-input-length", "--max-batch-prefill-tokens")

_FLAG: Final = re.compile(r"(--[a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?:=(.*))?", re.DOTALL)
_NUMBER: Final = re.compile(r"-\.?[0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherArgument:
    """A flag with its value."""

    flag: str
    """`--max-total-tokens`."""
    value: str | None = None
    """None: it stands alone."""
    index: int = 0
    """Where the flag stands among the caller's words."""

    @property
    def words(self) -> tuple[str, ...]:
        """As the launcher gets it. A value that looks like a flag stays with its own."""
        if self.value is None:
            return (self.flag,)
        return (f"{self.flag}={self.value}",) if self.value.startswith("-") else (self.flag, self.value)


def parse_arguments(words: Sequence[str]) -> list[LauncherArgument]:
    """Read arguments as one types them: `--flag value`, `--flag=value`, `--switch`.

    Raises:
        InvalidInputError: with the path of the word that is neither.
    """
    arguments: list[LauncherArgument] = []
    index = 0
    while index < len(words):
        matched = _FLAG.fullmatch(words[index])
        if matched is None:
            raise _wrong(index, _no_flag(words[index], arguments[-1] if arguments else None))
        flag, value = matched[1], matched[2]
        follows = index + 1 < len(words) and _is_value(words[index + 1])
        if flag in SWITCHES:
            if value is not None:
                raise _wrong(index, f"'{flag}' takes no value: leave '={value}' out")
        elif value is None and follows:
            value = words[index + 1]
        elif value is None and flag in COUNTS | FRACTIONS | BOOLEANS:
            raise _wrong(index, f"'{flag}' has no value: write it behind the flag, as the next argument or after '='")
        arguments.append(LauncherArgument(flag=flag, value=value, index=index))
        index += 2 if value is not None and matched[2] is None else 1
    return arguments


def check_custom_arguments(
    words: Sequence[str], *, model: BaseModel | None, quantization: str = "", backend: str = ""
) -> None:
    """Check the caller's arguments by themselves, against each other, and against the rest of the configuration.

    Args:
        words: as one types them.
        model: the base model asked for; None: it could not be told, and is not compared.
        quantization: the configuration's own.
        backend: the configuration's own.

    Raises:
        InvalidInputError: with the path of the word at fault.
    """
    arguments = parse_arguments(words)
    by_flag: dict[str, LauncherArgument] = {}
    for argument in arguments:
        _check_alone(argument)
        if argument.flag in by_flag and argument.flag not in REPEATABLE:
            raise _wrong(argument.index, f"'{argument.flag}' is given twice: the launcher takes it once")
        by_flag[argument.flag] = argument
    named = by_flag.get(MODEL_ID)
    if named is not None and model is not None and not _names(model, named.value or ""):
        raise _wrong(
            named.index,
            f"'{MODEL_ID} {named.value}' contradicts the base model '{model.name}': leave it out "
            "(a revision of it goes into --revision)",
        )
    _check_agreement(by_flag.get("--quantize"), "quantization", quantization)
    _check_agreement(by_flag.get("--backend"), "backend", backend)
    if quantization and (dtype := by_flag.get("--dtype")) is not None:
        raise _wrong(
            dtype.index, f"'--dtype' can't be used with the quantization '{quantization}': leave one of them out"
        )
    _check_together(by_flag)


def count_of(arguments: Iterable[LauncherArgument], flag: str) -> int | None:
    """Return the number that a flag has; None when it is not there."""
    text = value_of(arguments, flag)
    return int(text) if text is not None else None


def value_of(arguments: Iterable[LauncherArgument], flag: str) -> str | None:
    """Return the value of a flag; None when it is not there, or stands alone."""
    return next((argument.value for argument in arguments if argument.flag == flag), None)


def _check_alone(argument: LauncherArgument) -> None:
    flag, value, index = argument.flag, argument.value or "", argument.index
    if flag in _REFUSED:
        raise _wrong(index, f"'{flag}' may not be set: {_REFUSED[flag]}")
    if flag in COUNTS and not (re.fullmatch(r"[0-9]{1,10}", value) and 1 <= int(value) <= LARGEST_COUNT):
        raise _wrong(index, f"'{flag}' must be a whole number between 1 and {LARGEST_COUNT:,}, not '{value}'")
    if flag in _AT_LEAST_TWO and int(value) < 2:
        raise _wrong(index, f"'{flag}' must be at least 2: one token of the prompt and one of the answer, not {value}")
    if flag in FRACTIONS and not _is_fraction(value):
        raise _wrong(index, f"'{flag}' must be a number between 0 and 1, not '{value}'")
    if flag in BOOLEANS and value not in {"true", "false"}:
        raise _wrong(index, f"'{flag}' must be true or false, not '{value}'")


def _check_agreement(argument: LauncherArgument | None, field: str, value: str) -> None:
    if argument is not None and value and argument.value != value:
        raise _wrong(
            argument.index,
            f"'{argument.flag} {argument.value}' contradicts server_config.{field} '{value}': give one of them",
        )


def _check_together(by_flag: dict[str, LauncherArgument]) -> None:
    for one, other in EXCLUSIVE:
        if one in by_flag and other in by_flag:
            index = max(by_flag[one].index, by_flag[other].index)
            raise _wrong(index, f"'{one}' can't be used with '{other}': leave one of them out")
    chunked = value_of(by_flag.values(), "--chunked-prefill") == "true"
    for small, large, how in SMALLER:
        if small not in by_flag or large not in by_flag or (chunked and (small, large) == _NOT_WHEN_CHUNKED):
            continue
        low, high = int(by_flag[small].value or 0), int(by_flag[large].value or 0)
        if low > high or (low == high and how == "less than"):
            raise _wrong(by_flag[small].index, f"'{small} {low}' must be {how} '{large} {high}'")


def _names(model: BaseModel, value: str) -> bool:
    return "@" not in value and model_matches(model, value)


def _is_value(word: str) -> bool:
    return not word.startswith("-") or _NUMBER.match(word) is not None


def _is_fraction(value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return math.isfinite(number) and 0 <= number <= 1


def _no_flag(word: str, before: LauncherArgument | None) -> str:
    if not word.startswith("-"):
        if before is not None and before.flag in SWITCHES:
            return f"'{word}' belongs to no flag: '{before.flag}' takes no value"
        return f"'{word}' belongs to no flag: write '--flag', then its value"
    if not word.startswith("--"):
        return f"'{word}' is a short flag: write the long one, like '--max-total-tokens'"
    name = word.partition("=")[0].lower().replace("_", "-")
    near = difflib.get_close_matches(name, sorted(COUNTS | FRACTIONS | BOOLEANS | SWITCHES), n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return f"'{word}' is not a flag of the launcher: they have small letters, digits and dashes{hint}"


def _wrong(index: int, message: str) -> InvalidInputError:
    return InvalidInputError(f"server_config.custom_args[{index}]", message)
