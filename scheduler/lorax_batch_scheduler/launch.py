"""What a LoRAX server is started with."""

from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.server_config import ServerConfig

TOKEN_VARIABLES: Final = ("HUGGING_FACE_HUB_TOKEN", "HF_TOKEN")
"""Router and shard read the first, the launcher's first look at the model the second."""
FOR_EVERYBODY: Final = "LORAX_USE_GLOBAL_HF_TOKEN"
"""With "1" a server fetches everybody's adapters with its token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that a host must know to start one server; the same on every kind of fleet."""

    family: str
    """The hash of the configuration that jobs share: see `ServerConfig.family`."""
    base_model_id: str
    """The catalogue's name of the model."""
    model: str
    """What LoRAX loads: `--model-id`."""
    image_tag: str = ""
    """Of the LoRAX image; "" for the fleet's own default."""
    arguments: tuple[str, ...] = ()
    """Of the launcher, without the model, the host and the port: derived for batch work, then the caller's own."""
    config: ServerConfig | None = None
    """What jobs ask for that this was derived from; None where a host or a test makes it up."""
    hf_token: str | None = None
    """A secret: never in an argument, a log or an error; servers get it as HUGGING_FACE_HUB_TOKEN."""

    def __repr__(self) -> str:
        return f"Launch({self.model!r}, family={self.family!r})"
