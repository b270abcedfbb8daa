"""The base models that jobs may name, with their sizes, and the other names they go by."""

import difflib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec

from lorax_batch_scheduler.errors import ConfigurationError, InvalidInputError
from lorax_batch_scheduler.toml_file import parse_toml, read_toml

DEFAULT_MAX_PARAMETERS: Final = 16_000_000_000
FIELD: Final = "server_config.base_model"

MAX_NAME_CHARACTERS: Final = 200
_SHOWN_CHARACTERS: Final = 300

_Positive = Annotated[int, msgspec.Meta(gt=0, le=10**15)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model as a catalogue file writes it."""

    hf_id: str | None = None
    parameters: _Positive
    context_length: _Positive
    bytes_per_weight: Annotated[float, msgspec.Meta(gt=0, le=8)] = 2.0
    kv_bytes_per_token: _Positive | None = None
    aliases: list[str] = []


class BaseModel(msgspec.Struct, frozen=True, kw_only=True):
    """A base model of the catalogue."""

    name: str
    """The catalogue's name for it."""
    hf_id: str
    """What LoRAX loads: an id on the Hugging Face hub."""
    aliases: tuple[str, ...]
    """Further names of the same weights."""
    parameters: int
    """0: unknown, for a model that is not in the catalogue."""
    bytes_per_weight: float
    context_length: int
    """In tokens; 0: unknown."""
    kv_bytes_per_token: int | None
    """None: unknown, or a model without a KV cache."""

    @property
    def weight_bytes(self) -> int:
        """The memory that the weights take."""
        return round(self.parameters * self.bytes_per_weight)


class Catalogue:
    """Base models by all their names; upper and lower case are the same."""

    def __init__(self, models: list[BaseModel], *, source: str = "catalogue", accept_unlisted: bool = False) -> None:
        """Index the models. `accept_unlisted`: any other name is a model of its own, of unknown size.

        Raises:
            ConfigurationError: two models share a name.
        """
        self._accept_unlisted = accept_unlisted
        self._models = {model.name: model for model in models}
        self._by_name: dict[str, BaseModel] = {}
        for model in models:
            for name in self.aliases(model):
                other = self._by_name.setdefault(name.casefold(), model)
                if other is not model:
                    raise ConfigurationError(
                        f"{source}: models.{model.name}: the name '{name}' already belongs to '{other.name}'"
                    )

    @classmethod
    def load(cls, extra: Path | None = None, *, accept_unlisted: bool = False) -> Self:
        """Read the catalogue that is shipped, and a file of the same form whose entries win over it.

        Raises:
            ConfigurationError: names the file, the entry and the field that is wrong.
        """
        shipped = resources.files("lorax_batch_scheduler").joinpath("catalogue.toml").read_text(encoding="utf-8")
        models = _parse(parse_toml(shipped, "catalogue.toml"), "catalogue.toml")
        if extra is None:
            return cls(list(models.values()), accept_unlisted=accept_unlisted)
        models |= _parse(read_toml(extra, "catalogue file"), str(extra))
        return cls(list(models.values()), source=str(extra), accept_unlisted=accept_unlisted)

    def __iter__(self) -> Iterator[BaseModel]:
        return iter(self._models.values())

    def __repr__(self) -> str:
        return f"Catalogue({len(self._models)} models)"

    def named(self, name: str) -> BaseModel | None:
        """Return the model of exactly that name, alias or hub id; None when the catalogue has none."""
        return self._by_name.get(name.strip().casefold())

    def find(self, model_id: str) -> BaseModel | None:
        """Return the model that a server's `/info` or the operator's `model=` means; None when the catalogue has none.

        Servers also report paths: of a hub cache (`.../models--org--name/snapshots/...`), or of a plain directory that
        has the name of the repository.
        """
        known = self.named(model_id)
        if known is not None or "/" not in model_id:
            return known
        parts = [part for part in model_id.split("/") if part]
        cached = next((part for part in reversed(parts) if part.startswith("models--")), None)
        if cached is not None:
            return self._by_name.get(cached.removeprefix("models--").replace("--", "/").casefold())
        if model_id.startswith("/") and parts:
            return self._by_directory(parts[-1].casefold())
        return None

    def identify(self, model_id: str) -> BaseModel:
        """Return the model that `find` finds, else one of that name of which nothing more is known."""
        return self.find(model_id) or _unlisted(model_id)

    def resolve(self, name: str) -> BaseModel:
        """Return the model of that name, alias or hub id.

        Raises:
            InvalidInputError: the catalogue has no such model.
        """
        model = self.named(name)
        if model is None and self._accept_unlisted:
            return _unlisted(name.strip())
        if model is None:
            near = difflib.get_close_matches(name.casefold(), self._by_name, n=1, cutoff=0.75)
            hint = f" (did you mean '{self._by_name[near[0]].name}'?)" if near else ""
            raise InvalidInputError(FIELD, f"'{name}' is not a base model of the catalogue{hint}")
        return model

    def check(self, name: str, max_parameters: int = DEFAULT_MAX_PARAMETERS) -> BaseModel:
        """Return the model of that name if it is small enough to be served.

        Raises:
            InvalidInputError: it is too large, or its size can't be told.
        """
        limit = f"{max_parameters / 1e9:g} billion parameters"
        if not name.strip():
            raise InvalidInputError(FIELD, f"is required: a name or alias of the catalogue, up to {limit}")
        try:
            model = self.resolve(name)
        except InvalidInputError as error:
            raise InvalidInputError(
                FIELD,
                f"{error.message}, so its size can't be told, and base models may have at most {limit}: declare it in "
                "the service's catalogue file with name, parameters, bytes_per_weight and context_length",
            ) from error
        if model.parameters > max_parameters:
            raise InvalidInputError(
                FIELD,
                f"'{name}' has {model.parameters / 1e9:.2f} billion parameters, but base models may have at most "
                f"{limit}: take a smaller one, or raise the service's setting max_parameters",
            )
        return model

    def aliases(self, model: BaseModel) -> list[str]:
        """Return every name that means this model itself, its own first."""
        dequantized = f"predibase/{model.hf_id.rpartition('/')[2]}-dequantized"
        return list(dict.fromkeys([model.name, model.hf_id, *model.aliases, dequantized]))

    def _by_directory(self, directory: str) -> BaseModel | None:
        named = {
            model.name: model
            for name, model in self._by_name.items()
            if name == directory or name.rpartition("/")[2] == directory
        }
        return next(iter(named.values())) if len(named) == 1 else None


def _shown(text: str) -> str:
    text = text.replace("\0", "\\0")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _unlisted(name: str) -> BaseModel:
    return BaseModel(
        name=name, hf_id=name, aliases=(), parameters=0, bytes_per_weight=2.0, context_length=0, kv_bytes_per_token=None
    )


def _parse(document: dict[str, Any], source: str) -> dict[str, BaseModel]:
    models = document.pop("models", {})
    if document or not isinstance(models, dict):
        wrong = _shown(", ".join(sorted(document)) or "models")
        raise ConfigurationError(f"catalogue file '{source}': '{wrong}': only tables [models.NAME] are expected")
    return {name: _model(name, entry, source) for name, entry in models.items()}


def _model(name: str, raw: object, source: str) -> BaseModel:
    where = f"catalogue file '{source}': models.{_shown(name)}"
    try:
        entry = msgspec.convert(raw, _Entry)
    except msgspec.ValidationError as error:
        what = _shown(str(error).replace("$.", "").replace("$", "the entry"))
        raise ConfigurationError(f"{where}: {what}") from error
    for text in (name, entry.hf_id or name, *entry.aliases):
        if text != text.strip() or not text.isprintable() or not 0 < len(text) <= MAX_NAME_CHARACTERS:
            raise ConfigurationError(
                f"{where}: the name {_shown(repr(text))} must have 1 to {MAX_NAME_CHARACTERS} printable characters, "
                "and no white space around them"
            )
    return BaseModel(
        name=name,
        hf_id=entry.hf_id or name,
        aliases=tuple(entry.aliases),
        parameters=entry.parameters,
        bytes_per_weight=entry.bytes_per_weight,
        context_length=entry.context_length,
        kv_bytes_per_token=entry.kv_bytes_per_token,
    )
