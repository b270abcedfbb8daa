"""With what a server was started, as an annotation of its Deployment."""

import msgspec

from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.server_config import ServerConfig


class LaunchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a later life can't tell from the other annotations. Holds no secret."""

    config: ServerConfig | None = None
    arguments: tuple[str, ...] = ()

    @classmethod
    def of(cls, launch: Launch) -> "LaunchRecord":
        """Return the record of a launch."""
        return cls(config=launch.config, arguments=launch.arguments)

    @classmethod
    def read(cls, text: str) -> "LaunchRecord":
        """Return what an annotation says; nothing where it is missing, or no longer can be read."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError:
            return cls()

    def encoded(self) -> str:
        """Return the text of the annotation."""
        return msgspec.json.encode(self).decode()
